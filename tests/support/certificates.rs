//! Certificates for servers that a test starts, made by the `openssl` command.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes to a folder: `ca.crt`, and `server.crt` with `server.key`, signed by it for `localhost` only; and `other.crt`,
/// an authority that has signed nothing.
pub fn make(folder: &Path) {
    let path = |name: &str| format!("{}/{name}", folder.display());
    for (ca, name) in [("ca", "/CN=Test CA"), ("other", "/CN=Other CA")] {
        openssl(
            "req -x509 -nodes -newkey rsa:2048 -days 30 -subj",
            &[name, "-keyout", &path(&format!("{ca}.key")), "-out", &path(&format!("{ca}.crt"))],
        );
    }
    std::fs::write(path("san"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        "req -nodes -newkey rsa:2048 -subj /CN=localhost",
        &["-keyout", &path("server.key"), "-out", &path("server.csr")],
    );
    let (ca, key) = (path("ca.crt"), path("ca.key"));
    openssl(
        "x509 -req -days 30 -CAcreateserial",
        &[
            "-in",
            &path("server.csr"),
            "-CA",
            &ca,
            "-CAkey",
            &key,
            "-extfile",
            &path("san"),
            "-out",
            &path("server.crt"),
        ],
    );
    std::fs::set_permissions(path("server.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn openssl(words: &str, more: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(words.split(' ')).args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{command:?}: {status:?}");
}
