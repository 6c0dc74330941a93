//! A schema without the name of the role that made it: the scratch server's superuser, the owner in production.

use crate::schema::Schema;

/// The schema without the attribute `owner` where that is `role` (as SQL writes it, quoted where needed), so that
/// fingerprints of different servers can be held against each other. Ownership by any other role stays.
#[must_use]
pub fn portable(schema: &Schema, role: &str) -> Schema {
    let mut schema = schema.clone();
    for object in schema.objects.values_mut() {
        if object.attributes.get("owner").is_some_and(|owner| owner == role) {
            object.attributes.remove("owner");
        }
        if let Some(privileges) = object.attributes.get_mut("privileges") {
            let prefix = format!("{role}: ");
            let entries: Vec<String> = privileges
                .split("; ")
                .map(|entry| match entry.strip_prefix(prefix.as_str()) {
                    Some(rest) => format!("(owner): {rest}"),
                    None => entry.to_owned(),
                })
                .collect();
            let mut entries = entries;
            entries.sort();
            *privileges = entries.join("; ");
        }
    }
    schema
}
