//! Exec, attach and port forwarding.

use super::ctl::{self, Connection};
use super::{Container, Inner, new_id};
use crate::images::internal;
use crate::shim::wire::Request;
use crate::spec::Spec;
use crate::{state, sys};
use ironclad_cri::*;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

/// Most that is kept of each stream of an `exec_sync`.
const MAX_OUTPUT: usize = 16 << 20;
/// How long output is waited for after the command's end.
const DRAIN: Duration = Duration::from_secs(2);

/// A process that runs in a container, and our ends of its streams.
struct Running {
    connection: Connection,
    terminal: Option<OwnedFd>,
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

impl Inner {
    fn running(&self, id: &str) -> Result<Arc<Container>> {
        let container = self.container(id)?;
        let phase = *container.phase.borrow();
        if phase != ContainerState::Running {
            let state = format!("CONTAINER_{}", format!("{phase:?}").to_uppercase());
            return Err(Error::FailedPrecondition(format!("container {id:?} is in {state} state")));
        }
        Ok(container)
    }

    async fn launch(&self, id: &str, command: &[String], wanted: StreamOptions) -> Result<Running> {
        let container = self.running(id)?;
        let run = self.sandbox_run(&container.record.sandbox_id);
        let spec: Spec =
            state::load(&self.container_data(id).join("config.json")).map_err(internal("read config.json"))?;
        let mut process = spec.process;
        process.args = command.to_vec();
        process.terminal = wanted.tty;
        if wanted.tty && !process.env.iter().any(|e| e.starts_with("TERM=")) {
            process.env.push("TERM=xterm".into());
        }
        let exec_id = new_id();
        let file = run.join(format!("exec-{exec_id}.json"));
        state::save(&file, &process).map_err(internal("write the process"))?;
        let started = launch(&run, id, &file, wanted).await;
        drop(std::fs::remove_file(&file)); // goes with the sandbox's directory otherwise
        started.map_err(|e| {
            Error::Internal(format!(
                "failed to exec in container: failed to start exec {exec_id:?}: OCI runtime exec failed: exec failed: \
                 unable to start container process: {e}: unknown"
            ))
        })
    }

    pub(super) async fn exec(&self, id: &str, request: ExecRequest) -> Result<Session> {
        let running = self.launch(id, &request.command, request.streams).await?;
        let (tell, exit) = oneshot::channel();
        let connection = running.connection;
        tokio::spawn(async move {
            let code = connection.reply().await.map(|(reply, _)| reply.exit.unwrap_or(0));
            drop(tell.send(code)); // nobody may wait for it any more
        });
        let mut session = Session {
            stdin: running.stdin.map(|p| Box::new(p) as BoxWrite),
            stdout: running.stdout.map(|p| Box::new(p) as BoxRead),
            stderr: running.stderr.map(|p| Box::new(p) as BoxRead),
            resize: None,
            exit,
        };
        if let Some(master) = running.terminal {
            let terminal = Terminal::new(master).map_err(internal("use the terminal"))?;
            session.stdin = request.streams.stdin.then(|| Box::new(terminal.clone()) as BoxWrite);
            session.stdout = Some(Box::new(terminal.clone()));
            let (sizes, mut changes) = mpsc::channel::<TerminalSize>(8);
            session.resize = Some(sizes);
            tokio::spawn(async move {
                while let Some(size) = changes.recv().await {
                    // The terminal may be gone already.
                    drop(sys::set_window(terminal.0.get_ref().as_fd(), size.width, size.height));
                }
            });
        }
        Ok(session)
    }

    pub(super) async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput> {
        let wanted = StreamOptions { stdout: true, stderr: true, ..StreamOptions::default() };
        let running = self.launch(id, command, wanted).await?;
        let kept: [Kept; 2] = Default::default();
        let mut readers = tokio::task::JoinSet::new();
        readers.spawn(collect(running.stdout, kept[0].clone()));
        readers.spawn(collect(running.stderr, kept[1].clone()));
        let ended = match timeout.filter(|t| !t.is_zero()) {
            None => running.connection.reply().await,
            Some(limit) => match tokio::time::timeout(limit, running.connection.reply()).await {
                Ok(ended) => ended,
                Err(_) => {
                    let kill = Request::Kill { id: id.to_owned(), signal: libc::SIGKILL };
                    running.connection.send(&kill, &[]).await.map_err(internal("kill the command"))?;
                    let text =
                        format!("failed to exec in container: timeout {limit:?} exceeded: context deadline exceeded");
                    return Err(Error::DeadlineExceeded(text));
                }
            },
        };
        let exit_code = ended?.0.exit.unwrap_or(0);
        // What the command wrote is in the pipes by now, but who inherited them may keep them open for ever.
        let all_read = async { while readers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(DRAIN, all_read).await);
        let [stdout, stderr] = kept.map(|k| std::mem::take(&mut *k.lock()));
        Ok(ExecOutput { stdout, stderr, exit_code })
    }

    pub(super) async fn attach(self: &Arc<Self>, id: &str, wanted: StreamOptions) -> Result<Session> {
        let container = self.running(id)?;
        let run = self.sandbox_run(&container.record.sandbox_id);
        let tty = container.record.config.tty;
        let stdin = wanted.stdin && container.record.config.stdin;
        let (stdin_fd, stdin) = if stdin { input().map(|(a, b)| (Some(a), Some(b)))? } else { (None, None) };
        let (stdout_fd, stdout) = if wanted.stdout { output().map(|(a, b)| (Some(a), Some(b)))? } else { (None, None) };
        let both = wanted.stderr && !tty;
        let (stderr_fd, stderr) = if both { output().map(|(a, b)| (Some(a), Some(b)))? } else { (None, None) };
        let request = Request::Attach {
            id: id.to_owned(),
            stdin: stdin_fd.is_some(),
            stdout: stdout_fd.is_some(),
            stderr: stderr_fd.is_some(),
        };
        let fds: Vec<_> = [&stdin_fd, &stdout_fd, &stderr_fd].into_iter().flatten().map(|fd| fd.as_fd()).collect();
        ctl::call(&run, &request, &fds).await?;
        drop(fds);
        let (tell, exit) = oneshot::channel();
        let mut phase = container.phase.subscribe();
        tokio::spawn(async move {
            // Ends with the container, whose sender outlives it only when the runtime itself goes.
            drop(phase.wait_for(|p| *p == ContainerState::Exited).await);
            drop(tell.send(Ok(0)));
        });
        let resize = tty.then(|| {
            let (sizes, mut changes) = mpsc::channel::<TerminalSize>(8);
            let (run, id) = (run.clone(), id.to_owned());
            tokio::spawn(async move {
                while let Some(TerminalSize { width, height }) = changes.recv().await {
                    // The container may have ended.
                    drop(ctl::call(&run, &Request::Resize { id: id.clone(), width, height }, &[]).await);
                }
            });
            sizes
        });
        Ok(Session {
            stdin: stdin.map(|p| Box::new(p) as BoxWrite),
            stdout: stdout.map(|p| Box::new(p) as BoxRead),
            stderr: stderr.map(|p| Box::new(p) as BoxRead),
            resize,
            exit,
        })
    }

    pub(super) async fn port_forward(&self, id: &str, port: u16) -> Result<BoxStream> {
        let sandbox = self.sandbox(id)?;
        if !sandbox.is_ready() {
            return Err(Error::FailedPrecondition(format!("sandbox container {id:?} is not running")));
        }
        let own = !sandbox.record.lock().config.namespaces.host_network;
        let netns = own.then(|| self.sandbox_run(id).join("netns"));
        let (tell, told) = oneshot::channel();
        // A thread of its own: it enters the namespace and never comes back.
        std::thread::spawn(move || drop(tell.send(dial(netns.as_deref(), port))));
        let failed = |e: io::Error| {
            Error::Internal(format!("failed to connect to localhost:{port} inside namespace {id:?}: {e}"))
        };
        let stream =
            told.await.map_err(|_| Error::Internal("port forward: the thread ended".into()))?.map_err(failed)?;
        Ok(Box::new(tokio::net::TcpStream::from_std(stream).map_err(failed)?))
    }
}

fn dial(netns: Option<&Path>, port: u16) -> io::Result<std::net::TcpStream> {
    if let Some(path) = netns {
        sys::setns(File::open(path)?.as_fd(), libc::CLONE_NEWNET)?;
    }
    let stream = std::net::TcpStream::connect(("127.0.0.1", port))
        .or_else(|first| std::net::TcpStream::connect(("::1", port)).map_err(|_| first))?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

async fn launch(run: &Path, id: &str, process: &Path, wanted: StreamOptions) -> Result<Running> {
    let connection = Connection::open(run).map_err(internal("reach the pod's shim"))?;
    let request = Request::Exec { id: id.to_owned(), process: process.to_string_lossy().into_owned() };
    let (mut stdin, mut stdout, mut stderr) = (None, None, None);
    let fds: Vec<OwnedFd> = if wanted.tty {
        vec![]
    } else {
        let read = |want: bool, slot: &mut Option<pipe::Receiver>| -> Result<OwnedFd> {
            if !want {
                return null();
            }
            let (theirs, ours) = output()?;
            *slot = Some(ours);
            Ok(theirs)
        };
        let (out, err) = (read(wanted.stdout, &mut stdout)?, read(wanted.stderr, &mut stderr)?);
        let input = if wanted.stdin {
            let (theirs, ours) = input()?;
            stdin = Some(ours);
            theirs
        } else {
            null()?
        };
        vec![input, out, err]
    };
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    connection.send(&request, &borrowed).await.map_err(internal("reach the pod's shim"))?;
    drop(borrowed);
    drop(fds);
    let (_, mut got) = connection.reply().await?;
    Ok(Running { connection, terminal: got.pop(), stdin, stdout, stderr })
}

/// The container's end and ours of a pipe that it writes to.
fn output() -> Result<(OwnedFd, pipe::Receiver)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::Internal(format!("make a pipe: {e}")))?;
    Ok((write, pipe::Receiver::from_owned_fd(read).map_err(internal("use a pipe"))?))
}

/// The container's end and ours of a pipe that it reads from.
fn input() -> Result<(OwnedFd, pipe::Sender)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::Internal(format!("make a pipe: {e}")))?;
    Ok((read, pipe::Sender::from_owned_fd(write).map_err(internal("use a pipe"))?))
}

fn null() -> Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).write(true).open("/dev/null").map_err(internal("open /dev/null"))?.into())
}

/// What was read so far.
type Kept = Arc<parking_lot::Mutex<Vec<u8>>>;

/// Reads to the end; what is too much is thrown away.
async fn collect(stream: Option<pipe::Receiver>, kept: Kept) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        let mut kept = kept.lock();
        let room = MAX_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..n.min(room)]);
    }
}

/// The master of a terminal. Reading ends when the other side is closed.
#[derive(Clone)]
struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    fn new(master: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&master, true)?;
        // SAFETY: the descriptor is owned and stays the same until it is dropped with this.
        Ok(Self(Arc::new(unsafe { AsyncFd::register(master) }?)))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            match guard.try_io(|fd| rustix::io::read(fd.get_ref(), &mut *room).map_err(io::Error::from)) {
                Ok(Ok(n)) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match guard.try_io(|fd| rustix::io::write(fd.get_ref(), bytes).map_err(io::Error::from)) {
                Ok(done) => return Poll::Ready(done),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
