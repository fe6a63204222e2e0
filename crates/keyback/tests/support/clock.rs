//! A keyback whose clock can be set while it runs: by Debian's libfaketime, which the lab needs as well.

use super::Keyback;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The library for programs with threads.
fn libfaketime() -> Result<PathBuf> {
    let places = std::fs::read_dir("/usr/lib")?;
    let found = places.flatten().map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    let found = found.into_iter().find(|path| path.exists());
    found.context(
        "this needs Debian's package libfaketime: apt-get install --no-install-recommends libfaketime",
    )
}

impl Keyback {
    /// How far the clock is off from now on; time limits go on as they were.
    pub fn set_clock(&self, offset: &str) -> Result<()> {
        let (file, new) = (self.folder.join("clock"), self.folder.join("clock.new"));
        std::fs::write(&new, format!("{offset}\n"))?;
        Ok(std::fs::rename(new, file)?)
    }

    /// Runs `serve` by a clock of its own.
    pub fn serve_by_clock(&mut self, more: &[&str]) -> Result<()> {
        self.set_clock("+0")?;
        let (library, file) = (libfaketime()?.display().to_string(), self.folder.join("clock"));
        let variables = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DONT_RESET", "1"),
        ];
        self.serve_with(more, &variables)
    }
}
