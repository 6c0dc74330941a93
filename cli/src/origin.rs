//! Who runs this and where from: the user, the commit, the job of the build server. For the audit log.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A build server, by the variable that says that it is one, with the variables of the commit, the job, its address, and
/// who set it off. Sources: the documentation of each, "predefined variables".
struct BuildServer {
    name: &'static str,
    mark: &'static str,
    commit: &'static str,
    job: &'static str,
    url: &'static [&'static str],
    user: &'static str,
}

/// Pieces of `url` that begin with a capital letter are variables; the others stand for themselves.
const BUILD_SERVERS: &[BuildServer] = &[
    BuildServer {
        name: "github",
        mark: "GITHUB_ACTIONS",
        commit: "GITHUB_SHA",
        job: "GITHUB_JOB",
        url: &["GITHUB_SERVER_URL", "/", "GITHUB_REPOSITORY", "/actions/runs/", "GITHUB_RUN_ID"],
        user: "GITHUB_ACTOR",
    },
    BuildServer {
        name: "gitlab",
        mark: "GITLAB_CI",
        commit: "CI_COMMIT_SHA",
        job: "CI_JOB_NAME",
        url: &["CI_JOB_URL"],
        user: "GITLAB_USER_LOGIN",
    },
    BuildServer {
        name: "buildkite",
        mark: "BUILDKITE",
        commit: "BUILDKITE_COMMIT",
        job: "BUILDKITE_PIPELINE_SLUG",
        url: &["BUILDKITE_BUILD_URL"],
        user: "BUILDKITE_BUILD_CREATOR",
    },
    BuildServer {
        name: "circleci",
        mark: "CIRCLECI",
        commit: "CIRCLE_SHA1",
        job: "CIRCLE_JOB",
        url: &["CIRCLE_BUILD_URL"],
        user: "CIRCLE_USERNAME",
    },
    BuildServer {
        name: "jenkins",
        mark: "JENKINS_URL",
        commit: "GIT_COMMIT",
        job: "JOB_NAME",
        url: &["BUILD_URL"],
        user: "BUILD_USER",
    },
    BuildServer {
        name: "azure",
        mark: "TF_BUILD",
        commit: "BUILD_SOURCEVERSION",
        job: "SYSTEM_JOBNAME",
        url: &["SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECT", "/_build/results?buildId=", "BUILD_BUILDID"],
        user: "BUILD_REQUESTEDFOR",
    },
    BuildServer {
        name: "bitbucket",
        mark: "BITBUCKET_BUILD_NUMBER",
        commit: "BITBUCKET_COMMIT",
        job: "BITBUCKET_STEP_UUID",
        url: &["BITBUCKET_GIT_HTTP_ORIGIN", "/pipelines/results/", "BITBUCKET_BUILD_NUMBER"],
        user: "BITBUCKET_STEP_TRIGGERER_UUID",
    },
];

/// The origin of this process as one line of JSON, with what was `decided` before the run. Only the variables named above
/// are read, none of which holds a secret.
#[must_use]
pub fn origin(actor: &str, environment: Option<&str>, decided: &[String]) -> String {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut origin = describe(actor, environment, &env, git_commit(Path::new(".")));
    if let Some(map) = origin.as_object_mut().filter(|_| !decided.is_empty()) {
        map.insert("decided".to_owned(), decided.into());
    }
    origin.to_string()
}

fn describe(
    actor: &str,
    environment: Option<&str>,
    env: &dyn Fn(&str) -> Option<String>,
    commit: Option<String>,
) -> Value {
    let mut origin = Map::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            origin.insert(key.to_owned(), value.into());
        }
    };
    put("actor", Some(actor.to_owned()));
    put("environment", environment.map(str::to_owned));
    let server = BUILD_SERVERS.iter().find(|server| env(server.mark).is_some());
    put("git_commit", server.and_then(|server| env(server.commit)).or(commit));
    if let Some(server) = server {
        put("ci", Some(server.name.to_owned()));
        put("ci_job", env(server.job));
        put("ci_user", env(server.user));
        let pieces = server.url.iter().map(|piece| match piece.starts_with(|c: char| c.is_ascii_uppercase()) {
            true => env(piece),
            false => Some((*piece).to_owned()),
        });
        put("ci_url", pieces.collect::<Option<String>>());
    }
    Value::Object(origin)
}

/// The commit that is checked out in the folder or one above it, read from git's files.
fn git_commit(from: &Path) -> Option<String> {
    let from = from.canonicalize().ok()?;
    let git = from.ancestors().map(|folder| folder.join(".git")).find(|git| git.exists())?;
    let git = if git.is_file() { linked(&git)? } else { git };
    let head = std::fs::read_to_string(git.join("HEAD")).ok()?;
    let head = head.trim();
    let Some(name) = head.strip_prefix("ref: ") else { return hash(head) };
    // A linked work tree keeps its HEAD, and the branches are with the main one.
    let common = std::fs::read_to_string(git.join("commondir")).ok().map(|path| git.join(path.trim()));
    let common = common.unwrap_or_else(|| git.clone());
    if let Ok(text) = std::fs::read_to_string(common.join(name)) {
        return hash(text.trim());
    }
    let packed = std::fs::read_to_string(common.join("packed-refs")).ok()?;
    packed.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' ').and_then(hash))
}

/// The folder that a file `.git` points to.
fn linked(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    let path = text.trim().strip_prefix("gitdir: ")?;
    Some(file.parent()?.join(path))
}

fn hash(text: &str) -> Option<String> {
    (text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_a_build_server_is_named_with_its_address() {
        let variables = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_SHA", "abc"),
            ("GITHUB_JOB", "deploy"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "me/shop"),
            ("GITHUB_RUN_ID", "17"),
            ("GITHUB_ACTOR", "ada"),
            ("GITHUB_TOKEN", "secret"),
        ];
        let env = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let origin = describe("ada@laptop", Some("production"), &env, Some("of the files".to_owned()));
        let expected = serde_json::json!({
            "actor": "ada@laptop", "environment": "production", "git_commit": "abc", "ci": "github", "ci_job": "deploy",
            "ci_user": "ada", "ci_url": "https://github.com/me/shop/actions/runs/17",
        });
        assert_eq!(origin, expected);
        assert_eq!(describe("a", None, &|_| None, None), serde_json::json!({ "actor": "a" }));
    }

    #[test]
    fn the_commit_is_read_from_branches_packed_branches_and_detached_heads() {
        let dir = tempfile::tempdir().unwrap();
        let (git, below) = (dir.path().join(".git"), dir.path().join("a/b"));
        std::fs::create_dir_all(git.join("refs/heads")).unwrap();
        std::fs::create_dir_all(&below).unwrap();
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        assert_eq!(git_commit(&below), None);
        std::fs::write(git.join("packed-refs"), format!("# x\n{one} refs/heads/main\n")).unwrap();
        assert_eq!(git_commit(&below), Some(one.clone()));
        std::fs::write(git.join("refs/heads/main"), format!("{two}\n")).unwrap();
        assert_eq!(git_commit(&below), Some(two));
        std::fs::write(git.join("HEAD"), format!("{one}\n")).unwrap();
        assert_eq!(git_commit(&below), Some(one));
    }
}
