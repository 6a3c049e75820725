//! nginx with a configuration of its own.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    cgroup::Cgroup,
    daemon::{self, TICK},
};
use crate::project;

const PATIENCE: Duration = Duration::from_mins(1);

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    log: PathBuf,
}

impl Server {
    /// Starts one that serves `root`, and waits until it answers.
    pub(super) fn start(cgroup: &Cgroup, folder: &Path, root: &Path, port: u16) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let log = folder.join("error.log");
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, text(folder, root, port))?;
        let program = project::find_program("nginx").context("nginx is not installed")?;
        let mut command = cgroup.command(&program)?;
        command
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&configuration)
            // Otherwise it would open its packaged log first.
            .arg("-e")
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let process = command.spawn().context("start nginx")?;
        let mut server = Self { process, log };
        server.wait_until_up(port)?;
        Ok(server)
    }

    fn wait_until_up(&mut self, port: u16) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = self.process.try_wait()? {
                bail!("nginx ended: {status}\n{}", daemon::tail(&self.log));
            }
            if start.elapsed() > PATIENCE {
                bail!("nginx does not answer\n{}", daemon::tail(&self.log));
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Ends it; how many opens failed, by its log.
    pub(super) fn stop(mut self) -> Result<u64> {
        daemon::terminate(&mut self.process).context("stop nginx")?;
        let log = fs::read_to_string(&self.log).context("read nginx's log")?;
        let failures = log
            .lines()
            .filter(|line| line.contains(" open() \"") && line.contains(" failed ("));
        Ok(failures.count() as u64)
    }
}

/// One worker and nothing cached, so that each request opens its file exactly once.
fn text(folder: &Path, root: &Path, port: u16) -> String {
    let (folder, root) = (folder.display(), root.display());
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    open_file_cache off;
    keepalive_timeout 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"
    )
}
