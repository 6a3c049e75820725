//! A newc cpio archive, as the kernel unpacks it into its first root file system.

use std::io::{self, Write};

const MODE_DIRECTORY: u32 = 0o040_755;
const MODE_PROGRAM: u32 = 0o100_755;
const MODE_DEVICE: u32 = 0o020_600;

/// Writes an archive entry by entry; [`Initramfs::finish`] ends it.
#[derive(Debug)]
pub(crate) struct Initramfs<W> {
    to: W,
    inode: u32,
}

impl<W: Write> Initramfs<W> {
    /// Starts an archive.
    pub(crate) fn new(to: W) -> Self {
        Self { to, inode: 1 }
    }

    /// Adds a directory.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, MODE_DIRECTORY, (0, 0), &[])
    }

    /// Adds an executable file.
    pub(crate) fn program(&mut self, path: &str, contents: &[u8]) -> io::Result<()> {
        self.entry(path, MODE_PROGRAM, (0, 0), contents)
    }

    /// Adds the console, which the kernel opens as init's standard streams before anything can
    /// mount devtmpfs.
    pub(crate) fn console(&mut self) -> io::Result<()> {
        self.directory("dev")?;
        self.entry("dev/console", MODE_DEVICE, (5, 1), &[])
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.to)
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        device: (u32, u32),
        contents: &[u8],
    ) -> io::Result<()> {
        let size = u32::try_from(contents.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(path.len() + 1).map_err(io::Error::other)?;
        let inode = self.inode;
        self.inode += 1;
        let (major, minor) = device;
        // inode, mode, uid, gid, links, mtime, size, device, special device, name size, checksum
        let fields = [
            inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0,
        ];
        write!(self.to, "070701")?;
        for field in fields {
            write!(self.to, "{field:08x}")?;
        }
        self.to.write_all(path.as_bytes())?;
        self.to.write_all(&[0])?;
        // The header has 110 bytes; name and contents are each padded to a multiple of four.
        self.pad(110 + path.len() + 1)?;
        self.to.write_all(contents)?;
        self.pad(contents.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.to.write_all(&[0; 3][..written.wrapping_neg() % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned() {
        for name in ["a", "ab", "abc", "abcd"] {
            let mut archive = Initramfs::new(Vec::new());
            archive.program(name, b"hello").unwrap();
            let bytes = archive.finish().unwrap();
            assert_eq!(bytes.len() % 4, 0, "{name}");
            let trailer = bytes
                .windows(10)
                .position(|window| window == b"TRAILER!!!")
                .unwrap();
            assert_eq!((trailer - 110) % 4, 0, "{name}");
        }
    }
}
