//! Paths: of cgroups, and of files in a filter.

use std::{fmt, path::Path, str::FromStr};

use super::{
    MAX_CGROUPS, PathFilter,
    violation::BadValue,
    wording::{quoted, shown},
};

/// A cgroup's path below the mount point.
pub(super) fn check_cgroup(text: &str) -> Result<(), BadValue> {
    if let Some(below) = text.strip_prefix("/sys/fs/cgroup/") {
        // Where a hybrid tree has its second version.
        let below = below.strip_prefix("unified/").unwrap_or(below);
        return Err(BadValue::new(
            format!("{} has the mount point in it", quoted(text)),
            format!("say /{}", shown(below.trim_matches('/'))),
        ));
    }
    if text == "/" || text == "/sys/fs/cgroup" {
        return Err(BadValue::new(
            format!("{} is the whole machine", quoted(text)),
            "name a cgroup below it, such as /system.slice/nginx.service",
        ));
    }
    check_path(text, 4095)?;
    if let Some(stem) = text.strip_suffix('/') {
        return Err(BadValue::new(
            format!("{} ends with a slash", quoted(text)),
            format!("say {}; its subtree is always meant", shown(stem)),
        ));
    }
    Ok(())
}

/// Several cgroups as one target: what lies in two of them would be asked twice.
pub(super) fn check_cgroups(paths: &[String]) -> Result<(), BadValue> {
    for path in paths {
        check_cgroup(path)?;
    }
    for (index, path) in paths.iter().enumerate() {
        let others = paths
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        for (_, other) in others {
            if Path::new(path).starts_with(other) {
                return Err(BadValue::new(
                    format!("{} lies in {}", quoted(path), quoted(other)),
                    "leave it out: a cgroup is hit with its subtree",
                ));
            }
        }
    }
    match paths.len() {
        0 | 1 => Err(BadValue::new(
            format!("names {} cgroups", paths.len()),
            "say several, or one as cgroup",
        )),
        2..=MAX_CGROUPS => Ok(()),
        many => Err(BadValue::new(
            format!("names {many} cgroups"),
            format!("a target has at most {MAX_CGROUPS}; write another fault for the rest"),
        )),
    }
}

/// A path on a device. It stands in a word before everything that has a separator, so it has none.
pub(super) fn check_device(text: &str) -> Result<(), BadValue> {
    check_path(text, 4095)?;
    match text.find([',', '@', '\\']) {
        Some(_) => Err(BadValue::new(
            format!("{} has a comma, an '@' or a backslash in it", quoted(text)),
            "name the block device itself, or another path on it",
        )),
        None => Ok(()),
    }
}

/// Absolute and normalised; one slash at the end is fine.
fn check_path(text: &str, max_bytes: usize) -> Result<(), BadValue> {
    let bad = |problem: &str, remedy: String| {
        Err(BadValue::new(format!("{} {problem}", quoted(text)), remedy))
    };
    let Some(below) = text.strip_prefix('/') else {
        return bad("is not an absolute path", "begin with a slash".to_owned());
    };
    if text.len() > max_bytes {
        return bad(
            &format!("has {} bytes", text.len()),
            format!("a path has at most {max_bytes}"),
        );
    }
    if text.contains('\0') {
        return bad("has a zero byte in it", "no path has one".to_owned());
    }
    let below = below.strip_suffix('/').unwrap_or(below);
    let odd = |part: &&str| matches!(*part, "" | "." | "..");
    // `/` alone has one empty component.
    if text != "/" && below.split('/').any(|part| odd(&part)) {
        return bad("is not normalised", format!("say {}", shown(&normal(text))));
    }
    Ok(())
}

/// What the path means when no symbolic link is involved.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let slash = if path.ends_with('/') && !parts.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", parts.join("/"))
}

impl PathFilter {
    /// What the kernel side compares at most.
    pub(super) const MAX_BYTES: usize = 511;

    /// `/`: all that there is.
    pub(super) fn everything() -> Self {
        Self::Subtree("/".to_owned())
    }

    /// The path as it is written; a subtree ends with a slash.
    pub fn as_str(&self) -> &str {
        match self {
            Self::File(path) | Self::Subtree(path) => path,
        }
    }

    /// What is wrong with it, if anything.
    pub(super) fn check(&self) -> Result<(), BadValue> {
        let path = self.as_str();
        check_path(path, Self::MAX_BYTES)?;
        if matches!(self, Self::Subtree(_)) == path.ends_with('/') {
            return Ok(());
        }
        Err(BadValue::new(
            format!("{} is of the other kind", quoted(path)),
            "a subtree ends with a slash and a file does not",
        ))
    }
}

impl FromStr for PathFilter {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let kind = if text.ends_with('/') {
            Self::Subtree
        } else {
            Self::File
        };
        let filter = kind(text.to_owned());
        filter.check().map(|()| filter)
    }
}

impl fmt::Display for PathFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_refused(text: &str) -> String {
        text.parse::<PathFilter>().unwrap_err().to_string()
    }

    #[test]
    fn cgroups() {
        assert_eq!(check_cgroup("/system.slice/nginx.service"), Ok(()));
        for (bad, message) in [
            (
                "/",
                "'/' is the whole machine; name a cgroup below it, such as /system.slice/nginx.service",
            ),
            (
                "/sys/fs/cgroup/a/b",
                "'/sys/fs/cgroup/a/b' has the mount point in it; say /a/b",
            ),
            ("a/b", "'a/b' is not an absolute path; begin with a slash"),
            (
                "/a/",
                "'/a/' ends with a slash; say /a; its subtree is always meant",
            ),
            ("/a/../b", "'/a/../b' is not normalised; say /b"),
        ] {
            assert_eq!(check_cgroup(bad).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn devices() {
        for good in ["/", "/dev/sda", "/dev/mapper/a-b", "/var/lib/"] {
            assert_eq!(check_device(good), Ok(()));
        }
        for (bad, message) in [
            ("sda", "'sda' is not an absolute path; begin with a slash"),
            (
                "/a@b",
                "'/a@b' has a comma, an '@' or a backslash in it; name the block device itself, or \
                 another path on it",
            ),
        ] {
            assert_eq!(check_device(bad).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn path_filters() {
        assert_eq!("/d/f".parse(), Ok(PathFilter::File("/d/f".to_owned())));
        assert_eq!("/d/".parse(), Ok(PathFilter::Subtree("/d/".to_owned())));
        assert_eq!("/".parse(), Ok(PathFilter::Subtree("/".to_owned())));
        assert_eq!("/a/...".parse(), Ok(PathFilter::File("/a/...".to_owned())));
        assert_eq!(
            path_refused("data"),
            "'data' is not an absolute path; begin with a slash"
        );
        assert_eq!(
            path_refused(""),
            "'' is not an absolute path; begin with a slash"
        );
        assert_eq!(path_refused("//a"), "'//a' is not normalised; say /a");
        assert_eq!(path_refused("//"), "'//' is not normalised; say /");
        assert_eq!(
            path_refused("/a/./b/../c//"),
            "'/a/./b/../c//' is not normalised; say /a/c/"
        );
        assert_eq!(
            path_refused("/a\0"),
            r"'/a\u{0}' has a zero byte in it; no path has one"
        );
        let long = format!("/{}", "x".repeat(511));
        assert!(path_refused(&long).ends_with("has 512 bytes; a path has at most 511"));
        assert!(long[..511].parse::<PathFilter>().is_ok());
        assert!(PathFilter::File("/a/".to_owned()).check().is_err());
        assert!(PathFilter::Subtree("/a".to_owned()).check().is_err());
    }
}
