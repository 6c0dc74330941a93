//! What can be wrong with a target.

/// Why a target could not be made out. No variant carries a value that may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The connection string cannot be read.
    #[error("{message}")]
    Syntax {
        /// What is wrong, without quoting.
        message: String,
    },
    /// A parameter nobody knows.
    #[error("unknown connection parameter {name}")]
    Unknown {
        /// The parameter in backquotes, or where it stands when its name may be part of a password.
        name: String,
        /// The known parameter that was probably meant.
        meant: Option<&'static str>,
    },
    /// A value that cannot be.
    #[error("connection parameter `{parameter}` {message}")]
    Value {
        /// The parameter.
        parameter: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A parameter libpq knows and this program does not honour; ignoring it could connect elsewhere or less safely.
    #[error("connection parameter `{parameter}` is not supported")]
    Unsupported {
        /// The parameter or variable as written.
        parameter: String,
    },
    /// Nobody said which role, and the system user has no name.
    #[error("no user name was given, and the user running this program has none")]
    NoUser,
}

impl TargetError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "ME320",
            Self::Unknown { .. } => "ME321",
            Self::Value { .. } => "ME322",
            Self::Unsupported { .. } => "ME323",
            Self::NoUser => "ME324",
        }
    }

    /// What to do now.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Syntax { .. } => {
                "write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters as %XX; \
                 or leave the password out and put it into PGPASSWORD or ~/.pgpass"
                    .to_owned()
            }
            Self::Unknown { meant: Some(meant), .. } => format!("write `{meant}`, or take the parameter out"),
            Self::Unknown { .. } => "take the parameter out; quote or escape values that hold spaces or `&`".to_owned(),
            Self::Value { parameter, .. } => format!("correct `{parameter}`"),
            Self::Unsupported { parameter } if parameter == "PGSERVICE" || parameter == "service" => {
                "give the service's host, port, database and user with --database-url or the PG* variables".to_owned()
            }
            Self::Unsupported { .. } => "take the parameter out; run again".to_owned(),
            Self::NoUser => "set PGUSER, or name the user in --database-url".to_owned(),
        }
    }
}
