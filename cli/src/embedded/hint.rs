//! What to type to get a PostgreSQL server on this system.

/// The advice for the machine this runs on.
pub(super) fn for_this_system() -> String {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    advice(&os_release, cfg!(target_os = "macos"))
}

/// `os_release` is the text of `/etc/os-release` (see os-release(5)): `ID`, then the words of `ID_LIKE`, decide.
fn advice(os_release: &str, macos: bool) -> String {
    if macos {
        return "to install one: brew install postgresql@17".to_owned();
    }
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\'']).to_ascii_lowercase()
    };
    let (id, like) = (value("ID"), value("ID_LIKE"));
    let command = std::iter::once(id.as_str()).chain(like.split_whitespace()).find_map(|name| match name {
        "debian" | "ubuntu" => Some("sudo apt-get install postgresql"),
        "fedora" | "rhel" | "centos" => Some("sudo dnf install postgresql-server postgresql-contrib"),
        "alpine" => Some("sudo apk add postgresql postgresql-contrib"),
        "arch" => Some("sudo pacman -S postgresql"),
        "suse" | "opensuse" => Some("sudo zypper install postgresql-server postgresql-contrib"),
        _ => None,
    });
    match command {
        Some(command) => format!("to install one: {command}"),
        None => "to install one, see https://www.postgresql.org/download/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_gets_its_own_command() {
        let check = |os_release: &str, macos: bool, expect: &str| {
            let got = advice(os_release, macos);
            assert!(got.contains(expect), "{os_release:?}: {got}");
        };
        check("NAME=\"Debian GNU/Linux\"\nID=debian\n", false, "apt-get install");
        check("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", false, "apt-get install");
        check("ID=fedora\n", false, "dnf install");
        check("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", false, "dnf install");
        check("ID='alpine'\n", false, "apk add");
        check("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", false, "zypper");
        check("ID=void\n", false, "postgresql.org/download");
        check("", false, "postgresql.org/download");
        check("ID=debian\n", true, "brew install");
    }
}
