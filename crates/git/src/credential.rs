//! Names and passwords in URLs of the web, kept where they belong.
//!
//! Arguments of programs can be read by every user of the machine (proc(5)), and git hands a URL on to its own programs as
//! it is. Invariant: a URL that was [`part`]ed has no user-info; the secret is in a file for its owner alone inside the
//! clone, and git is told to ask for it there (gitcredentials(7)).

use crate::fault::quote;
use crate::gitdir::Config;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use weald_model::{Code, Fault};

/// The file in a clone.
const FILE: &str = "weald-credential";
/// What a run without a clone yet reads it from.
pub(crate) const VARIABLE: &str = "WEALD_CREDENTIAL";

/// Who to be at a remote.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    username: String,
    password: Option<String>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}

/// Takes the user-info out of a URL of the web. Others keep theirs: ssh knows no password in a URL.
///
/// Errors: `BadRequest` for one with a control character, which git's protocol would take for more than it is.
pub fn part(url: &str) -> Result<(String, Option<Credential>), Fault> {
    let whole = || Ok((url.to_owned(), None));
    let Some((scheme, rest)) = url.split_once("://") else { return whole() };
    if !["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)) {
        return whole();
    }
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..authority].rfind('@') else { return whole() };
    let (username, password) = match rest[..at].split_once(':') {
        Some((username, password)) => (decoded(username), Some(decoded(password))),
        None => (decoded(&rest[..at]), None),
    };
    let credential = Credential { username, password };
    if credential.text().matches('\n').count() > 2 || credential.text().contains(['\r', '\0']) {
        let why = "the name or the password in the URL has a control character";
        return Err(Fault::new(Code::BadRequest, why));
    }
    Ok((format!("{scheme}://{}", &rest[at + 1..]), Some(credential)))
}

/// `%41` is `A`; what is no text then stays as it was.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = (first == b'%').then(|| tail.get(..2)).flatten();
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

impl Credential {
    /// As git reads it from a helper (git-credential(1)).
    pub(crate) fn text(&self) -> String {
        let password = self.password.iter().map(|password| format!("password={password}\n"));
        format!("username={}\n", self.username) + &password.collect::<String>()
    }

    /// Keeps it with a clone at `dir` that is going to be at `dest`, in place of one that is there.
    pub fn keep(&self, dir: &Path, dest: &Path) -> Result<(), Fault> {
        self.write(dir, dest).map_err(|error| Fault::host("keeping the credential of a clone", &error))
    }

    fn write(&self, dir: &Path, dest: &Path) -> std::io::Result<()> {
        let (file, fresh) = (dir.join(FILE), dir.join(format!("{FILE}.new")));
        let is_told = file.exists();
        let mut options = std::fs::OpenOptions::new();
        let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        new.write_all(self.text().as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&fresh, &file)?;
        if is_told {
            return Ok(());
        }
        let mut config = Config::default();
        config.section("credential", None);
        if self.password.is_some() {
            // With a password in the URL git asks nobody else.
            config.value("helper", b"");
        }
        config.value("helper", asking_file(&dest.join(FILE)).as_bytes());
        let mut file = std::fs::OpenOptions::new().append(true).open(dir.join("config"))?;
        file.write_all(&config.text)?;
        file.sync_all()
    }
}

/// What git is to run for the credential of a clone, if that has one.
pub(crate) fn asking(clone: &Path) -> Option<String> {
    let file: PathBuf = clone.join(FILE);
    file.is_file().then(|| asking_file(&file))
}

fn asking_file(file: &Path) -> String {
    format!("!f() {{ test \"$1\" != get || cat {}; }}; f", quote(file))
}

/// The same for what is in [`VARIABLE`].
pub(crate) fn asking_variable() -> String {
    format!("!f() {{ test \"$1\" != get || printf %s \"${VARIABLE}\"; }}; f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_url_of_the_web_is_taken_out_of_it() {
        let cases = [
            ("https://u:tok@h:8080/p?x=@", "https://h:8080/p?x=@", "username=u\npassword=tok\n"),
            ("HTTP://tok@h", "HTTP://h", "username=tok\n"),
            ("https://u%40x:a%3Ab%zz@h/", "https://h/", "username=u@x\npassword=a:b%zz\n"),
            ("https://u:@h/", "https://h/", "username=u\npassword=\n"),
            ("https://u:p@q@h/", "https://h/", "username=u\npassword=p@q\n"),
        ];
        for (url, plain, text) in cases {
            let (parted, credential) = part(url).unwrap();
            assert_eq!((parted.as_str(), credential.unwrap().text().as_str()), (plain, text), "{url}");
        }
        for url in ["https://h/a@b", "ssh://git@h/p", "git@h:p", "/a/b@c", "file:///a@b"] {
            assert_eq!(part(url).unwrap(), (url.to_owned(), None), "{url}");
        }
    }

    #[test]
    fn a_url_cannot_say_more_to_git_than_a_name_and_a_password() {
        for url in
            ["https://u%0ahost=evil:p@h/", "https://u:p%0d@h/", "https://u:p%00@h/", "https://u:p%0a@h/"]
        {
            assert_eq!(part(url).unwrap_err().code, Code::BadRequest, "{url}");
        }
        assert_eq!(format!("{:?}", part("https://u:p@h/").unwrap().1), "Some(Credential)");
    }
}
