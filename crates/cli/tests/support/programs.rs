//! Programs that stay in a workspace while things happen to it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell that stands in a directory; it answers a line with a line.
pub(crate) struct Shell {
    child: Child,
    _file: tempfile::NamedTempFile,
    out: BufReader<std::process::ChildStdout>,
}

impl Shell {
    /// Starts it, and waits until it stands there.
    pub(crate) fn new(dir: &Path) -> Self {
        let out = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new("sh")
            .arg("-c")
            .arg("while read -r line; do { eval \"$line\"; } > $OUT 2>&1; tr '\\n' ' ' < $OUT; echo; done")
            .env("OUT", out.path())
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut shell = Self { child, _file: out, out: lines };
        assert_eq!(shell.run("pwd"), dir.display().to_string(), "it stands there now");
        shell
    }

    /// Runs one line; its output as one line.
    pub(crate) fn run(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.out.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Python that maps a file shared, stores into it, and holds it until its input ends.
const MAPPER: &str = r"
import mmap, sys
file = open(sys.argv[1], 'r+b')
pages = mmap.mmap(file.fileno(), 0)
for line in sys.stdin:
    word = line.split()
    if word[0] == 'store':
        pages[0:len(word[1])] = word[1].encode()
        print('stored', flush=True)
    else:
        print(pages[0:8].decode(), flush=True)
";

/// A program with a file mapped shared and writable: `store TEXT` and `load`.
pub(crate) struct Mapper {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Mapper {
    /// Starts it.
    pub(crate) fn new(path: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", MAPPER])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Asks for one thing.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.out.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
