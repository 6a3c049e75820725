//! Packages of Debian suites that the machine itself does not use, through a private apt directory:
//! the machine's own apt setup is read and left alone.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{cache, process};

/// The keys that Debian ships in debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A private apt directory with up-to-date lists.
#[derive(Debug)]
pub(crate) struct Archive {
    config: PathBuf,
}

impl Archive {
    /// Makes the directory and updates its lists. Call it under a lock of the cache.
    pub(crate) fn open() -> Result<Self> {
        let directory = cache::subdir("apt")?;
        for name in ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial"] {
            fs::create_dir_all(directory.join(name))?;
        }
        fs::create_dir_all(directory.join("cache/archives/partial"))?;
        fs::write(directory.join("sources.list"), sources()?)?;
        let config = directory.join("apt.conf");
        fs::write(&config, configuration(&directory)?)?;
        let archive = Self { config };
        process::output(archive.apt("apt-get").args(["-q", "update"]))
            .context("update the private package lists")?;
        Ok(archive)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }

    /// The newest version of a package that begins with a prefix.
    pub(crate) fn newest(&self, package: &str, prefix: &str) -> Result<String> {
        let table = process::output(self.apt("apt-cache").args(["madison", package]))?;
        let mut best: Option<&str> = None;
        for line in table.lines() {
            let Some(version) = line.split('|').nth(1).map(str::trim) else {
                continue;
            };
            if version.starts_with(prefix) && best.is_none_or(|best| newer(version, best)) {
                best = Some(version);
            }
        }
        match best {
            Some(version) => Ok(version.to_owned()),
            None => bail!("no version {prefix}* of {package} in:\n{table}"),
        }
    }

    /// `Depends` of one version of a package that ask for exactly one other version.
    pub(crate) fn exact_dependencies(
        &self,
        package: &str,
        version: &str,
    ) -> Result<Vec<(String, String)>> {
        let record = process::output(self.apt("apt-cache").args([
            "show",
            "--no-all-versions",
            &format!("{package}={version}"),
        ]))?;
        let depends = record
            .lines()
            .find_map(|line| line.strip_prefix("Depends:"))
            .unwrap_or("");
        Ok(depends
            .split(',')
            .filter_map(|dependency| {
                let (name, version) = dependency.trim().strip_suffix(')')?.split_once(" (= ")?;
                Some((name.to_owned(), version.to_owned()))
            })
            .collect())
    }

    /// Downloads packages into a directory; apt checks them against the archive's signatures.
    pub(crate) fn download(&self, packages: &[(String, String)], into: &Path) -> Result<()> {
        let wanted = packages
            .iter()
            .map(|(name, version)| format!("{name}={version}"));
        process::output(
            self.apt("apt-get")
                .args(["-q", "download"])
                .args(wanted)
                .current_dir(into),
        )
        .context("download packages")?;
        Ok(())
    }
}

fn newer(a: &str, b: &str) -> bool {
    Command::new("dpkg")
        .args(["--compare-versions", a, "gt", b])
        .status()
        .is_ok_and(|status| status.success())
}

/// The mirror that the machine's own apt uses.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// Where Debian's releases are.
    pub(crate) main: String,
    /// Where their security suites are, if that is known.
    pub(crate) security: Option<String>,
}

/// Asks the machine's apt for its mirror.
pub(crate) fn mirror() -> Result<Mirror> {
    let table = process::output(Command::new("apt-get").env("LC_ALL", "C").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))
    .context("ask apt for its sources")?;
    let mut mirror = None;
    let mut security = None;
    for line in table.lines() {
        let mut words = line.split(' ');
        let (Some(uri), Some(release), Some("main")) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if release.ends_with("-security") {
            security.get_or_insert_with(|| uri.to_owned());
        } else if ["bookworm", "trixie", "stable", "oldstable"].contains(&release) {
            mirror.get_or_insert_with(|| uri.to_owned());
        }
    }
    let Some(mirror) = mirror else {
        bail!(
            "this machine's apt sources name no Debian mirror, so nothing can be fetched from it"
        );
    };
    // Mirrors keep the two archives beside each other.
    let beside = mirror
        .trim_end_matches('/')
        .strip_suffix("debian")
        .map(str::to_owned);
    let security = security.or_else(|| Some(beside? + "debian-security"));
    Ok(Mirror {
        main: mirror,
        security,
    })
}

/// The suites that hold the lab's kernels.
fn sources() -> Result<String> {
    let Mirror {
        main: mirror,
        security,
    } = mirror()?;
    let options = if Path::new(KEYRING).exists() {
        format!("[signed-by={KEYRING}] ")
    } else {
        String::new()
    };
    let mut text = String::new();
    if let Some(security) = security {
        writeln!(text, "deb {options}{security} bookworm-security main")?;
    }
    for suite in ["bookworm", "bookworm-backports", "trixie-backports"] {
        writeln!(text, "deb {options}{mirror} {suite} main")?;
    }
    Ok(text)
}

fn configuration(directory: &Path) -> Result<String> {
    let at = |name: &str| directory.join(name).display().to_string();
    let mut text = String::new();
    writeln!(text, "Dir::Etc \"{}\";", at("etc"))?;
    writeln!(text, "Dir::Etc::sourcelist \"{}\";", at("sources.list"))?;
    writeln!(text, "Dir::Etc::sourceparts \"-\";")?;
    writeln!(text, "Dir::State::lists \"{}\";", at("state/lists"))?;
    writeln!(text, "Dir::Cache \"{}\";", at("cache"))?;
    writeln!(text, "Acquire::Languages \"none\";")?;
    // The sandbox user could not write to a cache below a home directory.
    writeln!(text, "APT::Sandbox::User \"root\";")?;
    text.push_str(&reach()?);
    Ok(text)
}

/// How the machine's apt reaches its mirror, as lines of its configuration: none of our business,
/// but we need it as well.
pub(crate) fn reach() -> Result<String> {
    let mut text = String::new();
    let machine = process::output(Command::new("apt-config").arg("dump"))?;
    for line in machine.lines().filter(|line| line.starts_with("Acquire::")) {
        if ["Proxy", "CaInfo", "Verify-", "SslCert", "SslKey"]
            .iter()
            .any(|word| line.contains(word))
        {
            writeln!(text, "{line}")?;
        }
    }
    Ok(text)
}
