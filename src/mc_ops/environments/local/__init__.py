"""The platform as processes on 127.0.0.1, everything they keep under one folder (`MC_HOME`)."""
