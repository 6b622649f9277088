//! What is a URL, which ones are refused, and how secrets in them are kept out of messages.
//!
//! Invariant: no text that passed [`mask`] holds the user-info of a web URL or a password.

use weald_model::{Code, Fault};

/// Transports `git` may use for a source. Others (`ext::`, `fd::`, remote helpers) run programs of the URL's choice.
pub(crate) const PROTOCOLS: &str = "file:git:http:https:ssh";

/// True when the text names a place to clone from rather than a path: `scheme://…`, `transport::…` or the
/// scp-like `host:path`, by git's own rule: a colon before the first slash.
pub fn is_url(text: &str) -> bool {
    if text.contains("://") || text.starts_with("ext::") {
        return true;
    }
    let colon = text.find(':');
    let slash = text.find('/');
    match (colon, slash) {
        (Some(colon), Some(slash)) => colon < slash && colon > 0,
        (Some(colon), None) => colon > 0,
        _ => false,
    }
}

/// Refuses URLs that git could take for an option, for a program to run, or that cannot be one line.
pub fn check_url(url: &str) -> Result<(), Fault> {
    let refuse =
        |why: &str| Err(Fault::new(Code::BadRequest, format!("`{}` is no usable URL: {why}", mask(url))));
    if url.is_empty() || url.starts_with('-') {
        return refuse("it is empty or starts with `-`");
    }
    if url.chars().any(char::is_control) {
        return refuse("it has a control character");
    }
    let names_program = url.split_once("::").is_some_and(|(name, _)| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_'))
    });
    if names_program {
        return refuse("`transport::address` would run a program");
    }
    match url.split_once("://") {
        Some((scheme, _)) if !PROTOCOLS.split(':').any(|known| scheme.eq_ignore_ascii_case(known)) => {
            Err(Fault::new(
                Code::UnsupportedSource,
                format!("`{}` uses a transport Weald does not know", mask(url)),
            )
            .hint("use a file://, https://, http://, git:// or ssh:// URL, or a path"))
        }
        Some((_, rest)) if rest.trim_start_matches('/').starts_with('-') => {
            refuse("the host starts with `-`")
        }
        _ => Ok(()),
    }
}

/// Replaces what may be secret in every URL of a text: the whole user-info of `http(s)`, the password of others,
/// and the value of query parameters.
pub fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let web = head[..at].to_ascii_lowercase().ends_with("http")
            || head[..at].to_ascii_lowercase().ends_with("https");
        let end =
            tail.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`')).unwrap_or(tail.len());
        let (url, after) = tail.split_at(end);
        mask_one(url, web, &mut out);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Masks `user:password@host/path?query`. A password may hold a raw `/` or `@`: everything up to the last `@`
/// before a query is taken for user-info when the URL is one of the web.
fn mask_one(url: &str, web: bool, out: &mut String) {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let authority = place.find('/').unwrap_or(place.len());
    let at = place[..authority].rfind('@').or_else(|| {
        // `user:pa/ss@host`: only when what precedes the slash has a colon that is no port.
        let port = place[..authority].rsplit_once(':').map(|(_, port)| port);
        let suspicious =
            port.is_some_and(|port| !port.is_empty() && !port.bytes().all(|b| b.is_ascii_digit()));
        if suspicious { place.rfind('@') } else { None }
    });
    match at {
        Some(at) if web => out.push_str(&format!("***{}", &place[at..])),
        Some(at) => match place[..at].split_once(':') {
            Some((user, _)) => out.push_str(&format!("{user}:***{}", &place[at..])),
            None => out.push_str(place),
        },
        None => out.push_str(place),
    }
    if let Some(query) = query {
        let masked: Vec<String> = query
            .split('&')
            .map(|pair| pair.split_once('=').map_or(pair.to_owned(), |(key, _)| format!("{key}=***")))
            .collect();
        out.push('?');
        out.push_str(&masked.join("&"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths_by_gits_rule() {
        for url in ["https://h/p", "ssh://git@h/p", "git@h:p/q", "h:p", "file:///x", "ext::sh -c x"] {
            assert!(is_url(url), "{url}");
        }
        for path in ["/a/b", "./a:b", "a/b:c", "../x", "name", ":x"] {
            assert!(!is_url(path), "{path}");
        }
    }

    #[test]
    fn dangerous_urls_are_refused() {
        for url in
            ["-uevil", "", "ext::sh -c id", "fd::3", "a\nb", "ssh://-oProxyCommand=id/x", "hg::https://h"]
        {
            assert_eq!(check_url(url).expect_err(url).code, Code::BadRequest, "{url}");
        }
        assert_eq!(check_url("gopher://h/p").expect_err("gopher").code, Code::UnsupportedSource);
        for url in [
            "https://h/p.git",
            "git@h:p/q",
            "ssh://u@h:22/p",
            "file:///tmp/x",
            "HTTPS://h/p",
            "http://[::1]/p",
        ] {
            check_url(url).expect(url);
        }
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let cases = [
            ("https://u:tok@h/p", "https://***@h/p"),
            ("x 'https://tok@h/p/': not found", "x 'https://***@h/p/': not found"),
            ("ssh://git@h/p", "ssh://git@h/p"),
            ("ssh://git:pw@h/p", "ssh://git:***@h/p"),
            ("https://u:p/w@h/p", "https://***@h/p"),
            ("https://h:8080/a@b", "https://h:8080/a@b"),
            ("https://h/p?access_token=abc&x=1", "https://h/p?access_token=***&x=***"),
            ("two https://a:b@c/d and http://e:f@g/h", "two https://***@c/d and http://***@g/h"),
            ("none", "none"),
        ];
        for (text, masked) in cases {
            assert_eq!(mask(text), masked);
        }
    }
}
