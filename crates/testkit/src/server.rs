//! Real git servers on loopback for tests: `git http-backend` behind a small HTTP server, and `git daemon`. Over ssh: `ssh_server`.
//!
//! All serve every repository below a directory, count what is asked of them, and can be told to fail: refuse
//! credentials, be away, hang, or break off in the middle of an answer. They end when dropped.
//! Invariant: nothing listens but on 127.0.0.1.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a server fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failing {
    /// Not at all.
    #[default]
    Never,
    /// Connections are closed as soon as they are made.
    Away,
    /// Wrong or no credentials.
    Unauthorized,
    /// Requests are read and never answered.
    Hanging,
    /// Answers to fetches end after so many bytes.
    CutAt(u64),
    /// So many bytes into answers to fetches one byte is changed.
    FlipAt(u64),
}

/// Longest time a hanging answer hangs: the end of the test comes first.
const HANG_MAX: Duration = Duration::from_secs(600);
/// Between two looks of a hanging answer.
const HANG_PAUSE: Duration = Duration::from_millis(10);

/// A server on a port of its own.
pub struct Server {
    pub(crate) shared: Arc<Shared>,
    scheme: &'static str,
    accepting: Option<std::thread::JoinHandle<()>>,
}

pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) address: SocketAddr,
    failing: Mutex<Failing>,
    /// The header of who is let in; everybody when None.
    demanded: Mutex<Option<String>>,
    pub(crate) fetches: AtomicU64,
    pub(crate) requests: AtomicU64,
    ended: AtomicBool,
}

impl Server {
    /// Serves the repositories below a directory over HTTP, by `git http-backend`.
    pub fn http(root: &Path) -> io::Result<Self> {
        Self::start(root, "http", answer_http)
    }

    /// Serves them over git's own protocol, by `git daemon`.
    pub fn daemon(root: &Path) -> io::Result<Self> {
        Self::start(root, "git", answer_git)
    }

    pub(crate) fn start(
        root: &Path,
        scheme: &'static str,
        answer: fn(&Shared, &TcpStream) -> io::Result<()>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            address: listener.local_addr()?,
            failing: Mutex::default(),
            demanded: Mutex::default(),
            fetches: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        let run = move || {
            for stream in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::Acquire) {
                    return;
                }
                let shared = accepting.clone();
                std::thread::spawn(move || {
                    // Who asked may have gone; a test sees that on its side.
                    let _ = answer(&shared, &stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        };
        Ok(Self { shared, scheme, accepting: Some(std::thread::spawn(run)) })
    }

    /// The URL of a repository below the directory.
    pub fn url(&self, name: &str) -> String {
        format!("{}://{}/{name}", self.scheme, self.shared.address)
    }

    /// Fails from now on.
    pub fn fail(&self, how: Failing) {
        *self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner) = how;
    }

    /// Lets in who sends this header `Authorization`, and nobody else. HTTP only.
    pub fn demand(&self, authorization: &str) {
        *self.shared.demanded.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization.to_owned());
    }

    /// How often objects were asked for.
    pub fn fetches(&self) -> u64 {
        self.shared.fetches.load(Ordering::Relaxed)
    }

    /// How often anything was asked for.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.shared.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    pub(crate) fn failing(&self) -> Failing {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lets_in(&self, asked: &Asked) -> bool {
        let demanded = self.demanded.lock().unwrap_or_else(PoisonError::into_inner);
        demanded.as_deref().is_none_or(|demanded| asked.header("Authorization") == Some(demanded))
    }

    /// Hangs until the server ends, or fails no more.
    pub(crate) fn hang(&self) {
        let since = std::time::Instant::now();
        while since.elapsed() < HANG_MAX
            && !self.ended.load(Ordering::Acquire)
            && self.failing() == Failing::Hanging
        {
            std::thread::sleep(HANG_PAUSE);
        }
    }
}

/// Git without any settings of the machine, serving whatever is below the directory.
fn git(shared: &Shared) -> Command {
    let mut command = Command::new("git");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    // What a test's repositories allow, whoever owns them.
    for setting in [
        "safe.directory=*",
        "uploadpack.allowFilter=true",
        "uploadpack.allowAnySHA1InWant=true",
        "http.receivepack=true",
    ] {
        command.args(["-c", setting]);
    }
    command.env("GIT_PROJECT_ROOT", &shared.root).env("GIT_HTTP_EXPORT_ALL", "1");
    command
}

/// One request of HTTP.
struct Asked {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn read(stream: &TcpStream) -> io::Result<Self> {
        let mut input = BufReader::new(stream);
        let first = line(&mut input)?;
        let mut words = first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut headers = Vec::new();
        loop {
            let header = line(&mut input)?;
            let Some((key, value)) = header.split_once(':') else { break };
            headers.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        let mut asked = Self { method, path, query, headers, body: Vec::new() };
        if asked.header("Expect").is_some() {
            (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        asked.body = if asked.header("Transfer-Encoding") == Some("chunked") {
            chunks(&mut input)?
        } else {
            let length = asked.header("Content-Length").and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut body = Vec::new();
            input.take(length).read_to_end(&mut body)?;
            body
        };
        Ok(asked)
    }
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    input.read_line(&mut text)?;
    Ok(text.trim_end().to_owned())
}

fn chunks(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let length = u64::from_str_radix(line(input)?.trim(), 16).unwrap_or(0);
        input.take(length).read_to_end(&mut body)?;
        line(input)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn answer_http(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    if shared.failing() == Failing::Away {
        return Ok(());
    }
    let asked = Asked::read(stream)?;
    match shared.failing() {
        failing if failing == Failing::Unauthorized || !shared.lets_in(&asked) => {
            let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\n";
            return write!(&*stream, "{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Failing::Hanging => {
            shared.hang();
            return Ok(());
        }
        _ => {}
    }
    let is_fetch = is_fetch(&asked);
    shared.fetches.fetch_add(u64::from(is_fetch), Ordering::Relaxed);
    let mut command = git(shared);
    command
        .arg("http-backend")
        .env("REQUEST_METHOD", &asked.method)
        .env("PATH_INFO", &asked.path)
        .env("QUERY_STRING", &asked.query)
        .env("CONTENT_TYPE", asked.header("Content-Type").unwrap_or_default())
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1");
    if let Some(encoding) = asked.header("Content-Encoding") {
        command.env("HTTP_CONTENT_ENCODING", encoding);
    }
    if let Some(protocol) = asked.header("Git-Protocol") {
        command.env("GIT_PROTOCOL", protocol);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let body = asked.body;
    let writing = std::thread::spawn(move || input.map(|mut pipe| pipe.write_all(&body)));
    let sent = output.map_or(Ok(()), |output| send(shared, stream, output, is_fetch));
    let _ = writing.join();
    child.wait()?;
    sent
}

/// A request for objects: the command of protocol version 2, which a large request has compressed.
fn is_fetch(asked: &Asked) -> bool {
    asked.path.ends_with("/git-upload-pack")
        && (asked.header("Content-Encoding").is_some()
            || asked.body.windows(13).any(|part| part == b"command=fetch"))
}

/// Sends what the program says: headers as in CGI, then the body.
fn send(shared: &Shared, stream: &TcpStream, output: impl Read, is_fetch: bool) -> io::Result<()> {
    let mut output = BufReader::new(output);
    let (mut status, mut headers) = ("200 OK".to_owned(), String::new());
    loop {
        let header = line(&mut output)?;
        match header.split_once(':') {
            None => break,
            Some((key, value)) if key.eq_ignore_ascii_case("Status") => status = value.trim().to_owned(),
            Some(_) => headers.push_str(&format!("{header}\r\n")),
        }
    }
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n")?;
    match shared.failing() {
        Failing::CutAt(bytes) if is_fetch => io::copy(&mut output.take(bytes), &mut stream).map(drop),
        Failing::FlipAt(bytes) if is_fetch => {
            io::copy(&mut output.by_ref().take(bytes), &mut stream)?;
            let mut byte = [0];
            if output.read(&mut byte)? == 1 {
                stream.write_all(&[byte[0] ^ 0x55])?;
            }
            io::copy(&mut output, &mut stream).map(drop)
        }
        _ => io::copy(&mut output, &mut stream).map(drop),
    }
}

fn answer_git(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    shared.requests.fetch_add(1, Ordering::Relaxed);
    match shared.failing() {
        Failing::Away | Failing::Unauthorized => return Ok(()),
        Failing::Hanging => {
            shared.hang();
            return Ok(());
        }
        _ => {}
    }
    shared.fetches.fetch_add(1, Ordering::Relaxed);
    let base = format!("--base-path={}", shared.root.display());
    let socket = || -> io::Result<Stdio> { Ok(std::os::fd::OwnedFd::from(stream.try_clone()?).into()) };
    let mut command = git(shared);
    command.args(["daemon", "--inetd", "--export-all"]).arg(base);
    command.stdin(socket()?).stdout(socket()?).stderr(Stdio::null());
    command.status().map(drop)
}
