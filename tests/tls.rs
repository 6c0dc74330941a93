//! Connecting to a real server with a real certificate: what libpq's `sslmode` promises, and what people read when
//! a connection does not come about.
#![allow(clippy::unwrap_used, unreachable_pub)] // a failed set-up is a failed test

#[path = "support/tls_server.rs"]
mod tls_server;

use migengine_engine::pg::connect::{ConnectError, ConnectErrorKind as Kind, Connected, SessionOptions, connect};
use migengine_engine::pg::target::{SystemFiles, Target};
use tls_server::TlsServer;

const HBA: &str = "hostssl all tls 127.0.0.1/32 scram-sha-256\nhostnossl all plain 127.0.0.1/32 trust\n\
                   host all either 127.0.0.1/32 scram-sha-256\n";

fn try_connect(url: &str, env: &[(&str, &str)]) -> Result<(Connected, tokio::runtime::Runtime), ConnectError> {
    // Single-threaded: the connection's own task must not need a second thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let target = Target::resolve(Some(url), &env, &SystemFiles).unwrap();
    let session = SessionOptions {
        application_name: "tls test".to_owned(),
        settings: vec![("lock_timeout".into(), "123ms".into()), ("no_such_setting".into(), "1".into())],
    };
    let connected = runtime.block_on(connect(&target, &session))?;
    assert_eq!(connected.warnings.len(), 1, "one setting is refused: {:?}", connected.warnings);
    Ok((connected, runtime))
}

/// Connects with `parameters` and gives whether the session is encrypted, or the kind of the error.
fn outcome(parameters: &str, env: &[(&str, &str)]) -> Result<bool, Kind> {
    let (connected, runtime) = try_connect(parameters, env).map_err(|error| {
        let shown = format!("{error} {error:?} {} {}", error.code(), error.next);
        assert!(!shown.contains("s3cret"), "a password leaked: {shown}");
        eprintln!("{parameters}\n  [{}] {error}\n  next: {}", error.code(), error.next);
        error.kind
    })?;
    let query = "SELECT ssl, current_setting('lock_timeout') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = runtime.block_on(connected.client.query_one(query, &[])).unwrap();
    assert_eq!(row.get::<_, String>(1), "123ms");
    Ok(row.get(0))
}

fn users(server: &TlsServer) {
    for user in ["tls", "plain", "either"] {
        server.sql(&format!("CREATE ROLE {user} LOGIN PASSWORD 's3cret'"));
    }
}

#[test]
fn sslmode_keeps_its_promises() {
    let Some(server) = TlsServer::start(HBA, true) else { return };
    users(&server);
    let port = server.port;
    let check = |rest: &str, expect: Result<bool, Kind>| {
        let rest = rest.replace("CA", &server.path("ca.crt")).replace("OTHER", &server.path("other.crt"));
        let parameters = format!("port={port} dbname=postgres password=s3cret {rest}");
        assert_eq!(outcome(&parameters, &[]), expect, "{parameters}");
    };
    let by_name = "host=localhost hostaddr=127.0.0.1 user=tls";
    let by_address = "host=127.0.0.1 user=tls";
    check(&format!("{by_name} sslmode=require"), Ok(true));
    check(&format!("{by_name} sslmode=prefer"), Ok(true));
    check(&format!("{by_name} sslmode=allow"), Ok(true));
    check(&format!("{by_name} sslmode=verify-ca sslrootcert=CA"), Ok(true));
    check(&format!("{by_name} sslmode=verify-full sslrootcert=CA"), Ok(true));
    check(&format!("{by_address} sslmode=verify-ca sslrootcert=CA"), Ok(true));
    check(&format!("{by_address} sslmode=verify-full sslrootcert=CA"), Err(Kind::CertificateName));
    for mode in ["require", "verify-ca", "verify-full"] {
        check(&format!("{by_name} sslmode={mode} sslrootcert=OTHER"), Err(Kind::CertificateIssuer));
    }
    check(&format!("{by_name} sslmode=verify-full sslrootcert=/no/such/file"), Err(Kind::TlsSetup));
    check(&format!("{by_name} sslmode=disable"), Err(Kind::Refused));
    check("host=127.0.0.1 user=plain sslmode=prefer", Ok(false));
    check("host=127.0.0.1 user=plain sslmode=require", Err(Kind::Refused));
    check("host=127.0.0.1 user=either sslmode=disable", Ok(false));
    // SCRAM bound to the TLS channel, and refused where there is no channel to bind to.
    check(&format!("{by_name} sslmode=require channel_binding=require"), Ok(true));
    check("host=127.0.0.1 user=either sslmode=disable channel_binding=require", Err(Kind::Authentication));
    // A certificate that another one signed is no authority, as with libpq.
    let leaf = server.path("server.crt");
    check(&format!("{by_name} sslmode=verify-full sslrootcert={leaf}"), Err(Kind::CertificateIssuer));
}

#[test]
fn refusals_have_their_own_kinds_and_cancel_works() {
    let Some(server) = TlsServer::start(HBA, true) else { return };
    users(&server);
    let port = server.port;
    let base = format!("host=127.0.0.1 port={port} user=either");
    assert_eq!(outcome(&format!("{base} dbname=postgres password=wrong-s3cret"), &[]), Err(Kind::WrongPassword));
    assert_eq!(outcome(&format!("{base} dbname=nope password=s3cret"), &[]), Err(Kind::NoDatabase));
    let none = [("PGPASSFILE", "/no/such/file")];
    assert_eq!(outcome(&format!("{base} dbname=postgres"), &none), Err(Kind::PasswordMissing));
    assert_eq!(outcome(&format!("host=127.0.0.1 port={port} user=x dbname=postgres"), &[]), Err(Kind::Refused));
    assert_eq!(outcome("host=127.0.0.1 port=1 user=x", &[]), Err(Kind::Unreachable));
    assert_eq!(outcome("host=/no/such/folder user=x", &[]), Err(Kind::Unreachable));
    let pass = server.path("pgpass");
    std::fs::write(&pass, format!("127.0.0.1:{port}:postgres:either:s3cret\n")).unwrap();
    std::fs::set_permissions(&pass, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(outcome(&format!("{base} dbname=postgres"), &[("PGPASSFILE", &pass)]), Ok(true));

    let (mut connected, runtime) = try_connect(&format!("{base} dbname=postgres password=s3cret"), &[]).unwrap();
    runtime.block_on(async {
        let cancel = connected.cancel.clone();
        let (slept, cancelled) = tokio::join!(connected.client.simple_query("SELECT pg_sleep(30)"), async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            cancel.cancel().await
        });
        assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
        cancelled.unwrap();
        // The server signals the backend, and then its process group (`signal_child` in postmaster.c): the second signal may come
        // after the answer, and meet what is asked next. Hence the engine's own patience (`LATE_CANCELS`).
        let warn = || connected.client.batch_execute("DO $$ BEGIN RAISE WARNING 'mind'; END $$");
        if let Err(late) = warn().await {
            assert_eq!(late.code().unwrap().code(), "57014");
            warn().await.unwrap();
        }
        let notice = connected.notices.recv().await.unwrap();
        assert_eq!((notice.severity.as_str(), notice.message.as_str()), ("WARNING", "mind"));
        assert!(connected.closed.borrow().is_none());
        let suicide = connected.client.simple_query("SELECT pg_terminate_backend(pg_backend_pid())").await.unwrap_err();
        let lost = migengine_engine::pg::sqlstate::ServerError::from_pg(&suicide).unwrap_err();
        assert_eq!(lost.server.map(|said| said.code).as_deref(), Some("57P01"));
        connected.wait_closed().await;
        assert!(connected.closed.borrow().is_some());
    });
}

#[test]
fn a_server_without_tls_and_something_that_is_no_server() {
    let Some(server) = TlsServer::start(HBA, false) else { return };
    users(&server);
    let base = format!("host=127.0.0.1 port={} user=plain dbname=postgres", server.port);
    assert_eq!(outcome(&format!("{base} sslmode=prefer"), &[]), Ok(false));
    assert_eq!(outcome(&format!("{base} sslmode=require"), &[]), Err(Kind::TlsUnavailable));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(std::io::Write::write_all(&mut &stream, b"SSH-2.0-OpenSSH_9.2\r\n"));
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    });
    assert_eq!(outcome(&format!("host=127.0.0.1 port={port} user=x sslmode=require"), &[]), Err(Kind::NotPostgres));
}
