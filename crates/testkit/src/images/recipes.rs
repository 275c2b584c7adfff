//! What is in each image. Programs come from packages with exactly the libraries that they load.

use super::packages::{Staging, libraries, run};
use crate::{Result, io};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// One image under one or more names.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) names: &'static [&'static str],
    pub(crate) layers: Vec<Layer>,
    pub(crate) config: Value,
}

/// What one layer holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    packages: &'static [&'static str],
    programs: &'static [&'static str],
    trees: &'static [&'static str],
    dirs: &'static [(&'static str, u32)],
    files: Vec<(&'static str, u32, String)>,
    links: &'static [(&'static str, &'static str)],
    applets: bool,
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All images of the test kit.
pub(crate) fn all() -> Vec<Recipe> {
    let mut recipes = vec![
        Recipe {
            names: &["busybox:1.36", "busybox:latest"],
            layers: vec![base()],
            config: json!({ "Env": [PATH], "Cmd": ["sh"] }),
        },
        Recipe { names: &["redis:7", "redis:latest"], layers: vec![base(), redis()], config: redis_config() },
        Recipe {
            names: &["tool:1", "tool:latest"],
            layers: vec![base(), tool()],
            config: json!({ "Env": [PATH], "Cmd": ["sleep", "infinity"] }),
        },
        Recipe {
            names: &["guestbook:1", "guestbook:latest"],
            layers: vec![base(), guestbook()],
            config: json!({
                "Env": [PATH, "REDIS_HOST=redis", "REDIS_PORT=6379"],
                "Cmd": ["httpd", "-f", "-p", "80", "-h", "/www"],
                "ExposedPorts": { "80/tcp": {} },
            }),
        },
        // A user by name, a working directory that does not exist yet, an entry point and arguments.
        Recipe {
            names: &["nonroot:1"],
            layers: vec![base()],
            config: json!({
                "Env": [PATH, "GREETING=hello"],
                "User": "app",
                "WorkingDir": "/srv/new",
                "Entrypoint": ["sh", "-c"],
                "Cmd": ["id; pwd; echo $GREETING; exec sleep infinity"],
                "StopSignal": "SIGUSR1",
            }),
        },
    ];
    let versions: [(&[&str], &str); 3] = [
        (&["nginx:1.27", "nginx:latest"], "1.27"),
        (&["nginx:1.28", "nginx:alpine"], "1.28"),
        (&["nginx:1.29"], "1.29"),
    ];
    for (names, version) in versions {
        recipes.push(Recipe {
            names,
            layers: vec![base(), nginx(), nginx_site(version)],
            config: nginx_config(version),
        });
    }
    recipes
}

/// A shell with the usual tools and users.
fn base() -> Layer {
    let passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
        www-data:x:33:33:www-data:/var/www:/bin/false\nredis:x:101:101:redis:/data:/bin/false\n\
        app:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    let group = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nredis:x:101:\napp:x:1000:\nextra:x:2000:app\n\
        nogroup:x:65534:\n";
    Layer {
        packages: &["busybox-static"],
        dirs: &[
            ("tmp", 0o1777),
            ("root", 0o700),
            ("home/app", 0o755),
            ("var/run", 0o755),
            ("usr/bin", 0o755),
            ("usr/sbin", 0o755),
        ],
        files: vec![
            ("etc/passwd", 0o644, passwd.into()),
            ("etc/group", 0o644, group.into()),
            ("etc/nsswitch.conf", 0o644, "hosts: files dns\n".into()),
            ("etc/hosts", 0o644, "127.0.0.1 localhost\n".into()),
        ],
        applets: true,
        ..Layer::default()
    }
}

fn nginx() -> Layer {
    Layer {
        packages: &["nginx-light"],
        programs: &["/usr/sbin/nginx"],
        trees: &["etc/nginx", "usr/share/nginx/html"],
        dirs: &[("var/lib/nginx", 0o755), ("var/log/nginx", 0o755), ("run", 0o755), ("var/cache/nginx", 0o755)],
        links: &[("var/log/nginx/access.log", "/dev/stdout"), ("var/log/nginx/error.log", "/dev/stderr")],
        ..Layer::default()
    }
}

fn nginx_site(version: &str) -> Layer {
    let conf = format!(
        "user www-data;\nworker_processes 1;\npid /run/nginx.pid;\nerror_log /dev/stderr notice;\n\
         events {{ worker_connections 512; }}\nhttp {{\n  include mime.types;\n  default_type text/plain;\n  \
         access_log /dev/stdout;\n  server {{\n    listen 80;\n    root /usr/share/nginx/html;\n    \
         location = / {{ return 200 \"Welcome to nginx {version} on $hostname\\n\"; }}\n    \
         location = /hostname {{ return 200 \"$hostname\\n\"; }}\n    location = /healthz {{ return 200 \"ok\\n\"; }}\n  }}\n}}\n"
    );
    Layer {
        files: vec![
            ("etc/nginx/nginx.conf", 0o644, conf),
            ("usr/share/nginx/html/index.html", 0o644, format!("<h1>Welcome to nginx {version}</h1>\n")),
        ],
        ..Layer::default()
    }
}

fn nginx_config(version: &str) -> Value {
    json!({
        "Env": [PATH, format!("NGINX_VERSION={version}")],
        "Entrypoint": ["nginx"],
        "Cmd": ["-g", "daemon off;"],
        "ExposedPorts": { "80/tcp": {} },
        "StopSignal": "SIGQUIT",
    })
}

fn redis() -> Layer {
    Layer {
        packages: &["redis-server", "redis-tools"],
        programs: &["/usr/bin/redis-server", "/usr/bin/redis-cli"],
        dirs: &[("data", 0o777)],
        ..Layer::default()
    }
}

fn redis_config() -> Value {
    json!({
        "Env": [PATH, "REDIS_VERSION=7.0"],
        "Cmd": ["redis-server", "--protected-mode", "no", "--save", "", "--dir", "/data"],
        "WorkingDir": "/data",
        "ExposedPorts": { "6379/tcp": {} },
        "Volumes": { "/data": {} },
    })
}

fn tool() -> Layer {
    Layer { packages: &["curl", "bind9-dnsutils"], programs: &["/usr/bin/curl", "/usr/bin/dig"], ..Layer::default() }
}

/// A page that keeps its messages in redis: `GET /` shows them, `GET /cgi-bin/add?text` adds one.
fn guestbook() -> Layer {
    let ask = "ask() { printf '%s\\r\\nQUIT\\r\\n' \"$1\" | nc -w 3 \"$REDIS_HOST\" \"$REDIS_PORT\"; }\n";
    let list = format!(
        "#!/bin/sh\n{ask}printf 'Content-Type: text/plain\\r\\n\\r\\n'\necho \"guestbook on $(hostname)\"\n\
         ask 'LRANGE messages 0 -1' | grep -v '^[*$+]'\n"
    );
    let add = format!(
        "#!/bin/sh\n{ask}printf 'Content-Type: text/plain\\r\\n\\r\\n'\n\
         text=$(printf %s \"$QUERY_STRING\" | tr -cd 'A-Za-z0-9_.-')\nask \"RPUSH messages $text\" | head -n 1\n"
    );
    Layer {
        files: vec![
            ("www/cgi-bin/list", 0o755, list),
            ("www/cgi-bin/add", 0o755, add),
            ("www/index.html", 0o644, "<meta http-equiv=\"refresh\" content=\"0;url=/cgi-bin/list\">\n".into()),
        ],
        ..Layer::default()
    }
}

/// Puts a layer's files below `root`.
pub(crate) fn lay_out(layer: &Layer, staging: &Staging, root: &Path) -> Result<()> {
    for (dir, mode) in layer.dirs {
        let path = root.join(dir);
        fs::create_dir_all(&path).map_err(io(format!("create {dir}")))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).map_err(io(format!("chmod {dir}")))?;
    }
    if !layer.packages.is_empty() {
        let source = staging.root(layer.packages)?;
        for program in layer.programs {
            copy(&source, program, root)?;
            for library in libraries(&source, program)? {
                copy(&source, &library, root)?;
            }
        }
        for tree in layer.trees {
            let to = root.join(tree);
            let above = to.parent().unwrap_or(root);
            fs::create_dir_all(above).map_err(io(format!("create {}", above.display())))?;
            run(Command::new("cp").arg("-rL").arg(source.join(tree)).arg(&to))?;
        }
        if layer.applets {
            applets(&source, root)?;
        }
    }
    for (path, target) in layer.links {
        symlink(target, root.join(path)).map_err(io(format!("link {path}")))?;
    }
    for (path, mode, text) in &layer.files {
        let to = root.join(path);
        fs::create_dir_all(to.parent().unwrap_or(root)).map_err(io(format!("create the parent of {path}")))?;
        fs::write(&to, text).map_err(io(format!("write {path}")))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(*mode)).map_err(io(format!("chmod {path}")))?;
    }
    Ok(())
}

fn copy(source: &Path, inside: &str, root: &Path) -> Result<()> {
    let relative = inside.trim_start_matches('/');
    let to = root.join(relative);
    fs::create_dir_all(to.parent().unwrap_or(root)).map_err(io(format!("create the parent of {inside}")))?;
    // A link inside the staging directory is followed there: links between libraries are relative.
    fs::copy(source.join(relative), &to).map_err(io(format!("copy {inside}")))?;
    Ok(())
}

fn applets(source: &Path, root: &Path) -> Result<()> {
    let bin = root.join("bin");
    fs::create_dir_all(&bin).map_err(io("create bin"))?;
    let from = ["bin/busybox", "usr/bin/busybox"].map(|p| source.join(p)).into_iter().find(|p| p.exists());
    let from = from.unwrap_or_else(|| source.join("bin/busybox"));
    fs::copy(&from, bin.join("busybox")).map_err(io(format!("copy {}", from.display())))?;
    for applet in run(Command::new(bin.join("busybox")).arg("--list"))?.lines() {
        if !matches!(applet, "busybox" | "dpkg" | "dpkg-deb" | "rpm" | "init" | "linuxrc") {
            symlink("busybox", bin.join(applet)).map_err(io(format!("link {applet}")))?;
        }
    }
    Ok(())
}
