//! A mail server that a test starts: it takes mails, plain or with TLS, and keeps them.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How the server wants to be spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Plain.
    Plain,
    /// Plain until STARTTLS; nothing else is taken before.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Takes connections and says nothing.
    Mute,
    /// Refuses the first mail for now (451), and takes the others.
    BusyOnce,
}

/// What the server heard of one client.
#[derive(Debug, Clone, Default)]
pub struct Mail {
    /// Every command, without the mail itself.
    pub commands: Vec<String>,
    /// The mail, if one came.
    pub data: String,
    /// Whether it came over TLS.
    pub encrypted: bool,
}

/// A running server: its port, and what it heard, one [`Mail`] a connection.
pub fn start(manner: Manner, certificates: &Path) -> (u16, Receiver<Mail>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mails) = channel();
    let tls = match manner {
        Manner::Starttls | Manner::Tls => Some(server_config(certificates)),
        Manner::Plain | Manner::Mute | Manner::BusyOnce => None,
    };
    let busy = Arc::new(AtomicBool::new(true));
    std::thread::spawn(move || {
        let mut mute = Vec::new();
        for stream in listener.incoming().flatten() {
            if manner == Manner::Mute {
                mute.push(stream);
                continue;
            }
            let (tls, sender, busy) = (tls.clone(), sender.clone(), Arc::clone(&busy));
            std::thread::spawn(move || attend(stream, (manner, &busy), tls, &sender));
        }
    });
    (port, mails)
}

fn server_config(certificates: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificates.join("server.crt")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(certificates.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

fn attend(
    stream: TcpStream,
    (manner, busy): (Manner, &AtomicBool),
    tls: Option<Arc<ServerConfig>>,
    sender: &Sender<Mail>,
) {
    let mut mail = Mail::default();
    let secure = |stream: TcpStream| StreamOwned::new(ServerConnection::new(tls.clone().unwrap()).unwrap(), stream);
    if manner == Manner::Tls {
        mail.encrypted = true;
        converse(secure(stream), (manner, busy), true, &mut mail);
    } else if converse(stream.try_clone().unwrap(), (manner, busy), true, &mut mail) {
        mail.encrypted = true;
        converse(secure(stream), (manner, busy), false, &mut mail);
    }
    sender.send(mail).ok();
}

/// Speaks until the client leaves. `true`: it asked for TLS, which begins now.
fn converse(stream: impl Read + Write, (manner, busy): (Manner, &AtomicBool), greet: bool, mail: &mut Mail) -> bool {
    let mut stream = BufReader::new(stream);
    let say = |stream: &mut BufReader<_>, text: &str| -> Option<()> {
        let out: &mut dyn Write = BufReader::get_mut(stream);
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok()
    };
    if greet && say(&mut stream, "220 localhost\r\n").is_none() {
        return false;
    }
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(1..) => {}
            _ => return false,
        }
        let line = line.trim_end().to_owned();
        mail.commands.push(line.clone());
        let open = manner != Manner::Starttls || mail.encrypted;
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" if open => "250-localhost\r\n250 AUTH PLAIN LOGIN\r\n",
            "EHLO" => "250-localhost\r\n250 STARTTLS\r\n",
            "STARTTLS" if !open => {
                say(&mut stream, "220 go ahead\r\n");
                return true;
            }
            "AUTH" => "235 welcome\r\n",
            "MAIL" if manner == Manner::BusyOnce && busy.swap(false, Ordering::SeqCst) => "451 try again later\r\n",
            "MAIL" if !open => "530 STARTTLS first\r\n",
            "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 ok\r\n",
            "DATA" => {
                say(&mut stream, "354 go on\r\n");
                read_data(&mut stream, &mut mail.data);
                "250 taken\r\n"
            }
            "QUIT" => {
                say(&mut stream, "221 bye\r\n");
                return false;
            }
            _ => "502 what\r\n",
        };
        if say(&mut stream, answer).is_none() {
            return false;
        }
    }
}

fn read_data(stream: &mut BufReader<impl Read>, data: &mut String) {
    let mut line = String::new();
    while let Ok(1..) = stream.read_line(&mut line) {
        if line.trim_end() == "." {
            return;
        }
        data.push_str(&line);
        line.clear();
    }
}
