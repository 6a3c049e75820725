//! Where the services can be reached: a unix socket for its owner alone, or a loopback address.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::{service::Routes, transport::Server};

/// Streams and calls that one connection may have open.
const MAX_STREAMS: u32 = 256;

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// There is no encryption yet.
    #[error(
        "{0} is not a loopback address: connections are neither encrypted nor authenticated \
         in this version, so nothing but this machine may reach them"
    )]
    NotLoopback(SocketAddr),
    /// Somebody answers there.
    #[error("{} is served already by another process", .0.display())]
    InUse(PathBuf),
    /// Something that is not ours to replace.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("can't {what} {at}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        at: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl ListenError {
    fn io(what: &'static str, at: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what,
            at: at.display().to_string(),
            source,
        }
    }
}

/// A unix socket that goes away with this value.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor may have put its own there since nobody listened on this one.
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(socket = %self.path.display(), %error, "not removed");
        }
    }
}

/// A socket for its owner alone, in a directory that is made when it is missing.
///
/// A socket that nobody answers on any more is replaced.
///
/// # Errors
/// See [`ListenError`].
pub fn unix(path: &Path) -> Result<UnixSocket, ListenError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(ListenError::io("create", directory))?;
    // Two that start at once must not both find the socket stale.
    let directory_file = File::open(directory).map_err(ListenError::io("open", directory))?;
    let _lock = Flock::lock(directory_file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| ListenError::io("lock", directory)(errno.into()))?;
    remove_stale(path)?;

    // Bound where nobody else can reach it, until its mode is right.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let private = PrivateDir::new(directory.join(format!(".{name}.{}", std::process::id())))?;
    let fresh = private.0.join("socket");
    let listener = UnixListener::bind(&fresh).map_err(ListenError::io("bind", &fresh))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))
        .map_err(ListenError::io("chmod", &fresh))?;
    let inode = fs::metadata(&fresh)
        .map_err(ListenError::io("look at", &fresh))?
        .ino();
    fs::rename(&fresh, path).map_err(ListenError::io("rename", &fresh))?;
    Ok(UnixSocket {
        listener,
        file: SocketFile {
            path: path.to_owned(),
            inode,
        },
    })
}

/// A directory for its owner alone, removed when it is dropped.
struct PrivateDir(PathBuf);

impl PrivateDir {
    fn new(path: PathBuf) -> Result<Self, ListenError> {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ListenError::io("remove", &path)(error));
            }
            _ => {}
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(ListenError::io("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(directory = %self.0.display(), %error, "not removed");
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(ListenError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ListenError::io("look at", path)(error)),
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(ListenError::io("remove", path))
        }
        Err(error) => Err(ListenError::io("connect to", path)(error)),
    }
}

/// Refuses what can be reached from other machines.
///
/// # Errors
/// [`ListenError::NotLoopback`]
pub fn check_loopback(address: SocketAddr) -> Result<(), ListenError> {
    if address.ip().to_canonical().is_loopback() {
        Ok(())
    } else {
        Err(ListenError::NotLoopback(address))
    }
}

/// A loopback address, for every user of this machine.
///
/// # Errors
/// See [`ListenError`].
pub async fn tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    check_loopback(address)?;
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError::Io {
            what: "listen on",
            at: address.to_string(),
            source,
        })
}

fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .tcp_nodelay(true)
}

/// Serves on a unix socket until `until`, then as long as calls are open; then the socket is removed.
///
/// # Errors
/// The transport failed.
pub async fn serve_unix(
    socket: UnixSocket,
    routes: Routes,
    until: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let UnixSocket { listener, file } = socket;
    let incoming = UnixListenerStream::new(listener);
    let result = server()
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, until)
        .await;
    drop(file);
    result
}

/// Serves on a loopback address until `until`, then as long as calls are open.
///
/// # Errors
/// The transport failed.
pub async fn serve_tcp(
    listener: TcpListener,
    routes: Routes,
    until: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let incoming = TcpListenerStream::new(listener);
    server()
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, until)
        .await
}
