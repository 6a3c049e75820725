//! Programs that lab tests hit and that somebody has to compile: those in `tests/victims`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context as _, Result};

use crate::{process, project};

/// The variable that tells tests where they are.
pub(super) const FOLDER_VARIABLE: &str = "KCHAOS_VICTIMS";

/// Where they are.
pub(super) fn folder() -> PathBuf {
    project::target_dir().join("victims")
}

/// How a program of a name is made of a source.
struct Recipe {
    name: &'static str,
    source: &'static str,
    compiler: &'static [&'static str],
}

const RECIPES: [Recipe; 5] = [
    Recipe {
        name: "c",
        source: "calls.c",
        compiler: &["gcc", "-O1", "-Wall", "-Werror", "-pthread"],
    },
    Recipe {
        name: "c-static",
        source: "calls.c",
        compiler: &["gcc", "-O1", "-Wall", "-Werror", "-pthread", "-static"],
    },
    Recipe {
        name: "clock",
        source: "clock.c",
        compiler: &["gcc", "-O2", "-Wall", "-Werror", "-pthread"],
    },
    Recipe {
        name: "clock-static",
        source: "clock.c",
        compiler: &["gcc", "-O2", "-Wall", "-Werror", "-pthread", "-static"],
    },
    Recipe {
        name: "go",
        source: "calls.go",
        compiler: &["go", "build"],
    },
];

/// Compiles those that are older than their source.
pub(super) fn build() -> Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder).context("make the folder of the victims")?;
    for recipe in &RECIPES {
        let source = project::root().join("tests/victims").join(recipe.source);
        let program = folder.join(recipe.name);
        if changed(&program).is_some_and(|made| Some(made) > changed(&source)) {
            continue;
        }
        process::run(
            Command::new(recipe.compiler[0])
                .args(&recipe.compiler[1..])
                .arg("-o")
                .args([&program, &source])
                // Go alone looks at these: without C, with nothing fetched, and its cache kept here.
                .env("CGO_ENABLED", "0")
                .env("GO111MODULE", "off")
                .env("GOPROXY", "off")
                .env("GOCACHE", folder.join("go-cache")),
        )
        .with_context(|| format!("compile {}", source.display()))?;
    }
    Ok(())
}

/// When a file was written last, if it is there.
fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).ok()?.modified().ok()
}
