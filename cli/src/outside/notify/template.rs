//! The text of a notification: fields in braces.

use serde_json::Value;

use super::super::post::Happening;

/// The fields.
pub(super) const FIELDS: [&str; 11] =
    ["event", "kind", "state", "database", "host", "environment", "actor", "run_id", "step", "message", "next"];

/// A text with fields.
pub(super) struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    Field(String),
}

impl Template {
    /// Reads a text. The error is the name of a field that is none.
    ///
    /// # Errors
    /// See above. A brace without its partner stands for itself.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            pieces.push(Piece::Text(before.to_owned()));
            let Some((field, behind)) = behind.split_once('}') else {
                pieces.push(Piece::Text("{".to_owned()));
                rest = behind;
                continue;
            };
            if !FIELDS.contains(&field) {
                return Err(field.to_owned());
            }
            pieces.push(Piece::Field(field.to_owned()));
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// Fills it in. `{message}` and `{next}` bring their own punctuation, because there may be none of them.
    pub(super) fn fill(&self, happening: &Happening) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(field) => value(happening, field),
        });
        pieces.collect()
    }
}

fn value(happening: &Happening, field: &str) -> String {
    let object = &happening.object;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match field {
        "message" => {
            let step = object["step"].as_str().map(|step| format!("{step}: ")).unwrap_or_default();
            let said = object["error"]["message"].as_str().or_else(|| object["rest"]["message"].as_str());
            said.map(|said| format!(": {step}{said}")).unwrap_or_default()
        }
        "next" => object["next"].as_str().map(|next| format!("; next: {next}")).unwrap_or_default(),
        field => text(&object[field]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::moment::Moment;
    use std::sync::Arc;

    #[test]
    fn fields_are_filled_in_and_unknown_ones_named() {
        let object = serde_json::json!({
            "event": "failed", "database": "shop", "step": "002_m", "next": "migengine apply --resume",
            "error": { "message": "division by zero" }, "environment": null,
        });
        let happening = Happening { moment: Moment::Failed, step: None, object: Arc::new(object) };
        let fill = |text: &str| Template::parse(text).unwrap_or_else(|field| panic!("{field}")).fill(&happening);
        assert_eq!(
            fill("{database} {event}{message}{next}"),
            "shop failed: 002_m: division by zero; next: migengine apply --resume"
        );
        assert_eq!(fill("[{environment}] {"), "[] {");
        assert!(matches!(Template::parse("{password}"), Err(field) if field == "password"));
    }
}
