"""Manifests that two readers of YAML would understand in two ways, or that are there to harm the one who reads."""

from __future__ import annotations

import base64

import pytest

from mc_ops.errors import UnusableInput
from mc_ops.preflight.kubernetes.manifests import objects_of, read_manifests
from mc_ops.preflight.kubernetes.pod_security import violations
from mc_ops.preflight.kubernetes.workloads import pods_of

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
BAD = "x: &bad {hostNetwork: true, hostPID: true}\n"


def read(text):
    return list(objects_of(text.encode(), "a.yaml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("spec: {hostPID: false, <<: *bad}\n", "line 5: a merge"),  # kubectl: hostPID true
        ("spec: {<<: *bad, <<: *bad}\n", "a merge"),
        ("spec: {!!merge x: {hostUsers: false}}\n", "a merge"),  # kubectl: a member called x
        ("spec: {<<: [1]}\n", "needs an object"),
        ("spec: {hostIPC: false, hostIPC: true}\n", "'hostIPC' stands twice"),
        ("spec: {1: a, '1': b}\n", "'1' stands twice"),
        ("spec: {true: a, yes: b}\n", "'true' stands twice"),
        ("spec: {[a]: b}\n", "a key is no text"),
        ("spec: {null: b}\n", "a key is no text"),
        ("spec: {a: !!binary aGk=}\n", "bytes"),
        ("spec: {a: !!set {b}}\n", "set"),
        ("spec: {a: !!timestamp 2001-01-01}\n", "date"),
        ("spec: {a: .nan}\n", "float"),
        ("spec: {a: .inf}\n", "float"),
        (f"spec: {{a: 0x{'f' * 5000}}}\n", "int"),
        (f"spec: {{a: {'9' * 5000}}}\n", "cannot be read"),
        (f"spec: {'[' * 5000}\n", "too deep"),
        ("spec: &a {b: *a}\n", "an alias leads into itself"),
        ("spec: &a {<<: *a}\n", "merge"),
    ],
    ids=lambda text: text[:32],
)
def test_what_readers_understand_in_two_ways_is_refused(text, told):
    """What kubectl sends is then not what was checked."""
    with pytest.raises(UnusableInput, match=told):
        read(POD + BAD + text)


def test_a_key_in_another_form_hides_nothing():
    """kubectl decodes a key of bytes to the text that it is; here it is refused."""
    hidden = base64.b64encode(b"hostIPC").decode()
    with pytest.raises(UnusableInput, match="a key is no text"):
        read(f"{POD}spec: {{!!binary {hidden}: true}}\n")


def test_a_merge_before_all_other_keys_is_as_kubectl_has_it():
    """There all readers agree: an object's own keys win, and of several sources the first."""
    [one] = read(f"{POD}{BAD}spec: {{<<: [{{hostPID: null}}, *bad], hostNetwork: false}}\n")
    assert one.spec == {"hostNetwork": False, "hostPID": None}
    [one] = read(f"{POD}{BAD}spec: {{<<: *bad, containers: [{{name: c}}]}}\n")
    assert {field for field, *_ in _found(one)} == {"spec.hostNetwork", "spec.hostPID"}


def _found(one):
    return [(f.field, f.why) for f in violations("hostNamespaces", pods_of([one]))]


def test_keys_are_texts_as_in_json():
    """Those of a label, too, whatever YAML makes of them."""
    [one] = read(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {1: a, on: b, '<<': c}\n"
    )
    assert one.data["data"] == {"1": "a", "true": "b", "<<": "c"}


def test_merges_that_grow_beyond_bounds_are_refused():
    """Nine times as many keys with each line; the text has a few hundred characters."""
    levels = "a0: &a0 {x: 1, y: 2}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
    )
    with pytest.raises(UnusableInput, match="by merges"):
        read(POD + levels)


def test_an_error_shows_no_line_of_the_file():
    """It may be a Secret's; the number of the line is enough."""
    with pytest.raises(UnusableInput) as caught:
        read('kind: Secret\nstringData:\n  password: "hunter2-hunter2\n')
    assert "line" in caught.value.message
    assert "hunter2" not in caught.value.message
    with pytest.raises(UnusableInput) as caught:
        read("kind: Secret\ndata: {password: !!int hunter2}\n")
    assert "hunter2" not in caught.value.message


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    """A pull request's folder must not lead to the reader's own files."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "pod.yaml").write_text(POD)
    (tmp_path / "key").write_text("apiVersion: v1\nkind: Pod\nsecret: x\n")
    (folder / "inner.yaml").symlink_to("pod.yaml")  # as a mounted ConfigMap has them
    assert len(read_manifests(folder)) == 2
    (folder / "outer.yaml").symlink_to(tmp_path / "key")
    with pytest.raises(UnusableInput, match=r"outer\.yaml leads out of"):
        read_manifests(folder)
