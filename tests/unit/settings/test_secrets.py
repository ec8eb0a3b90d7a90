"""Secrets by file and by command."""

import base64
import os
import sys

import pytest

from audit_proxy.settings.secrets import (
    SECRET_MAX,
    SecretError,
    check_secret,
    read_credential,
    read_key,
    read_private,
    read_secret,
)
from audit_proxy.settings.shapes import Secret

KEY = bytes(range(32))
MARK = "M4RKED-SECRET"


@pytest.fixture
def secret_file(tmp_path):
    def make(data: bytes, mode: int = 0o600):
        path = tmp_path / "secret"
        path.write_bytes(data)
        path.chmod(mode)
        return Secret(file=path)

    return make


def python(code: str) -> Secret:
    return Secret(command=[sys.executable, "-c", code])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"s", b"s"),
        (b"s\n", b"s"),
        (b"s\r\n", b"s"),
        (b"s\n\n", b"s\n"),
        (b" s \n", b" s "),
        (b"\x00\xff", b"\x00\xff"),
    ],
)
def test_one_last_line_break_is_not_part_of_a_secret(secret_file, data, expected):
    assert read_secret(secret_file(data)) == expected


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_for_its_owner_alone_is_read(secret_file, mode):
    assert read_secret(secret_file(b"s", mode)) == b"s"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666])
def test_a_file_that_others_can_use_is_refused_with_the_remedy(secret_file, mode):
    """Reading, writing and executing by group or others alike."""
    with pytest.raises(SecretError, match=r"chmod 600"):
        read_secret(secret_file(MARK.encode(), mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(secret_file):
    secret = secret_file(b"s")
    os.chown(secret.file, 12345, 12345)
    with pytest.raises(SecretError, match="another user"):
        read_secret(secret)


def test_what_is_no_file_is_refused(tmp_path):
    """A folder, nothing, and a pipe, which must not hold the start up."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    for path in (tmp_path, tmp_path / "none", fifo):
        with pytest.raises(SecretError):
            read_private(path)


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n"])
def test_an_empty_secret_is_refused(secret_file, data):
    with pytest.raises(SecretError, match="empty"):
        read_secret(secret_file(data))


def test_a_secret_past_its_bound_is_refused(secret_file):
    with pytest.raises(SecretError, match="longer"):
        read_secret(secret_file(b"x" * (SECRET_MAX + 1)))
    with pytest.raises(SecretError, match="more than"):
        read_secret(python(f"print('x' * {SECRET_MAX + 1})"))


def test_a_link_is_followed_and_what_it_names_is_judged(secret_file, tmp_path):
    """Orchestrators mount secrets as links."""
    secret = secret_file(b"s")
    link = tmp_path / "link"
    link.symlink_to(secret.file)
    assert read_secret(Secret(file=link)) == b"s"
    secret.file.chmod(0o644)
    with pytest.raises(SecretError, match="chmod"):
        read_secret(Secret(file=link))


def test_a_command_s_output_is_the_secret():
    assert read_secret(python("print('s')")) == b"s"


def test_a_command_runs_without_a_shell(tmp_path):
    witness = tmp_path / "witness"
    assert read_secret(Secret(command=["echo", f"$(touch {witness})"])) == f"$(touch {witness})".encode()
    assert not witness.exists()


@pytest.mark.parametrize(
    ("secret", "what"),
    [
        (python(f"import sys; print('{MARK}'); print('{MARK}', file=sys.stderr); sys.exit(3)"), "exit code 3"),
        (python("pass"), "empty"),
        (Secret(command=["/nonexistent/program"]), "cannot be run"),
        (Secret(command=[]), "empty"),
    ],
)
def test_a_command_that_fails_is_told_without_what_it_printed(secret, what):
    with pytest.raises(SecretError, match=what) as raised:
        read_secret(secret)
    assert MARK not in str(raised.value)


def test_a_command_that_does_not_end_is_ended():
    with pytest.raises(SecretError, match="did not end"):
        read_secret(python("import time; time.sleep(60)"), timeout_s=0.3)


def test_a_key_is_base64_text_of_32_bytes(secret_file):
    assert read_key(secret_file(base64.b64encode(KEY) + b"\n")) == KEY


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        base64.b64encode(KEY[:31]),
        base64.b64encode(KEY * 2),
        b"not base64!",
        base64.b64encode(KEY)[:-1],
        KEY.hex().encode(),
        MARK.encode(),
    ],
)
def test_anything_else_is_no_key_and_is_not_quoted(secret_file, text):
    with pytest.raises(SecretError, match="base64 text of 32 bytes") as raised:
        read_key(secret_file(text))
    assert MARK not in str(raised.value)


def test_a_secret_is_checked_without_running_its_command(tmp_path, secret_file):
    """check-config must not ask a vault, only see that the program is there."""
    witness = tmp_path / "witness"
    assert check_secret(Secret(command=["touch", str(witness)]), read_key) is None
    assert not witness.exists()
    assert "not found" in (check_secret(Secret(command=["no-such-program-here"]), read_secret) or "")
    assert "empty" in (check_secret(Secret(command=[]), read_secret) or "")
    assert check_secret(secret_file(b"s"), read_secret) is None
    assert "32 bytes" in (check_secret(secret_file(b"s"), read_key) or "")


@pytest.mark.parametrize(
    "text", [f"Bearer {MARK}\r\nX: y", f"Bearer {MARK}\n\n", f"Bearer {MARK}é", f" {MARK}", f"{MARK}\0"]
)
def test_a_credential_is_one_line_of_visible_ascii(secret_file, text):
    """It goes into a header as it is; what could end the header is no credential, and is not quoted."""
    with pytest.raises(SecretError, match="value of a header") as raised:
        read_credential(secret_file(text.encode()))
    assert MARK not in str(raised.value)
    assert read_credential(secret_file(b"Bearer abc\n")) == "Bearer abc"
