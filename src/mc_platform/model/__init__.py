"""The words of the domain: values that travel between the stages, without behaviour or IO."""
