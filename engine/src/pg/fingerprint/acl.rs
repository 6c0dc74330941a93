//! Privileges in a form that does not depend on order, version or on whether a default was written out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Whom something is granted to, with the grantor where that is not the owner.
type Grants = BTreeMap<String, BTreeSet<(String, bool)>>;

/// From `[owner, [[grantee, privilege, grantable, grantor]…], [the same of the default]]` (see `sql::acl`) to
/// `PUBLIC: USAGE; app: ALL; bob: INSERT*, SELECT`, where `*` is the grant option. `ALL` stands for everything there is
/// to grant on such an object, which newer versions add to (MAINTAIN in 17). The outer `None`: not of that form; the
/// inner: the same as the default.
pub(super) fn render(json: &str) -> Option<Option<String>> {
    let document: Value = serde_json::from_str(json).ok()?;
    let owner = document.get(0)?.as_str()?;
    let actual = grants(owner, document.get(1)?)?;
    let default = grants(owner, document.get(2)?)?;
    if actual == default {
        return Some(None);
    }
    let everything: BTreeSet<&String> = document
        .get(3)?
        .as_array()?
        .iter()
        .filter_map(|name| if let Value::String(s) = name { Some(s) } else { None })
        .collect();
    let grantees: Vec<String> =
        actual.iter().map(|(grantee, set)| format!("{grantee}: {}", privileges(set, &everything))).collect();
    Some(Some(if grantees.is_empty() { "none".to_owned() } else { grantees.join("; ") }))
}

fn privileges(set: &BTreeSet<(String, bool)>, everything: &BTreeSet<&String>) -> String {
    let names: BTreeSet<&String> = set.iter().map(|(name, _)| name).collect();
    let grantable = set.iter().filter(|(_, grantable)| *grantable).count();
    if &names == everything && (grantable == 0 || grantable == set.len()) {
        return if grantable == 0 { "ALL".to_owned() } else { "ALL*".to_owned() };
    }
    let names: Vec<String> =
        set.iter().map(|(name, grantable)| format!("{name}{}", if *grantable { "*" } else { "" })).collect();
    names.join(", ")
}

fn grants(owner: &str, entries: &Value) -> Option<Grants> {
    let mut grants = Grants::new();
    if entries.is_null() {
        return Some(grants);
    }
    for entry in entries.as_array()? {
        let grantee = match entry.get(0)?.as_str()? {
            "-" => "PUBLIC",
            role => role,
        };
        let grantor = entry.get(3)?.as_str()?;
        let by = if grantor == owner { String::new() } else { format!(" by {grantor}") };
        let privilege = (entry.get(1)?.as_str()?.to_owned(), entry.get(2)?.as_bool()?);
        grants.entry(format!("{grantee}{by}")).or_default().insert(privilege);
    }
    Some(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_sorted_and_the_default_goes_without_saying() {
        let own = r#"["o","SELECT",false,"o"],["o","INSERT",false,"o"]"#;
        let all = r#"["INSERT","SELECT"]"#;
        let check = |actual: &str, expect: Option<&str>| {
            let document = format!(r#"["o",{actual},[{own}],{all}]"#);
            assert_eq!(render(&document), Some(expect.map(str::to_owned)), "{document}");
        };
        check(&format!("[{own}]"), None);
        check(r#"[["o","INSERT",false,"o"],["o","SELECT",false,"o"]]"#, None);
        check("null", Some("none"));
        check(&format!(r#"[{own},["-","SELECT",false,"o"]]"#), Some("PUBLIC: SELECT; o: ALL"));
        check(r#"[["bob","SELECT",true,"o"],["bob","INSERT",false,"o"]]"#, Some("bob: INSERT, SELECT*"));
        check(r#"[["bob","SELECT",false,"eve"]]"#, Some("bob by eve: SELECT"));
        assert_eq!(render("{}"), None);
    }
}
