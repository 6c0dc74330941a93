//! The JSON form, for tools and for keeping a schema to compare with later.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Kind, Object, ObjectKey, Schema};

/// A JSON document that is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a schema as `migengine schema --format json` writes it: {0}")]
pub struct InvalidSchema(String);

impl Schema {
    /// `{"digest": "…", "objects": [{"kind", "name", "parent"?, "position"?, "attributes": {…}}]}`, in canonical order.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let objects: Vec<Value> = self.objects.iter().map(|(key, object)| object_to_json(key, object)).collect();
        json!({ "digest": self.digest().to_string(), "objects": objects })
    }

    /// Reads what [`Schema::to_json`] wrote.
    ///
    /// # Errors
    /// The document has another shape, or its digest does not fit its objects.
    pub fn from_json(document: &Value) -> Result<Self, InvalidSchema> {
        let list = document.get("objects").and_then(Value::as_array);
        let list = list.ok_or_else(|| InvalidSchema("`objects` is missing".to_owned()))?;
        let objects = list.iter().map(object_from_json).collect::<Result<BTreeMap<_, _>, _>>()?;
        let schema = Self { objects };
        match document.get("digest").and_then(Value::as_str) {
            Some(digest) if digest == schema.digest().to_string() => Ok(schema),
            _ => Err(InvalidSchema("`digest` does not fit the objects".to_owned())),
        }
    }
}

fn object_to_json(key: &ObjectKey, object: &Object) -> Value {
    let mut map = Map::new();
    map.insert("kind".to_owned(), json!(key.kind.as_str()));
    map.insert("name".to_owned(), json!(key.name));
    if let Some(parent) = &key.parent {
        map.insert("parent".to_owned(), json!(parent));
    }
    if let Some(position) = object.position {
        map.insert("position".to_owned(), json!(position));
    }
    map.insert("attributes".to_owned(), json!(object.attributes));
    Value::Object(map)
}

fn object_from_json(value: &Value) -> Result<(ObjectKey, Object), InvalidSchema> {
    let wrong = || InvalidSchema(format!("object {value}"));
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let kind = text("kind").and_then(|word| Kind::from_word(&word)).ok_or_else(wrong)?;
    let key = ObjectKey { kind, parent: text("parent"), name: text("name").ok_or_else(wrong)? };
    let position = match value.get("position") {
        None => None,
        Some(position) => Some(position.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(wrong)?),
    };
    let attributes = value.get("attributes").and_then(Value::as_object).ok_or_else(wrong)?;
    let attributes = attributes
        .iter()
        .map(|(name, value)| value.as_str().map(|value| (name.clone(), value.to_owned())).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    Ok((key, Object { position, attributes }))
}
