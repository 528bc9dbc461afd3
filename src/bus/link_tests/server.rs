//! Real Redis or Valkey servers for tests: a single server, one monitored by Sentinels, or a Redis Cluster.
//!
//! Shared by unit tests and the integration tests.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The server binary. `None`, with a message, if none is installed and `ROOMWIRE_REQUIRE_REDIS` is not set.
fn program() -> Option<&'static str> {
    let is_installed = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    let found = ["redis-server", "valkey-server"]
        .into_iter()
        .find(is_installed);
    if found.is_none() {
        let required = std::env::var("ROOMWIRE_REQUIRE_REDIS").is_ok_and(|value| value == "1");
        assert!(!required, "redis-server is missing and required");
        println!("skipped: redis-server is missing");
    }
    found
}

/// A port that is free at the moment, and that no other test of this process gets. It is below the ephemeral ports, so that
/// no outgoing connection takes it before its server listens, or while that restarts.
pub(crate) fn free_port() -> u16 {
    const FIRST: usize = 12_000;
    const COUNT: usize = 8_000;
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| {
        let random = RandomState::new().hash_one(std::process::id());
        AtomicUsize::new(random as usize % COUNT)
    });
    loop {
        let port = (FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until a condition is true.
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < TIMEOUT, "{what}");
        sleep(Duration::from_millis(20));
    }
}

/// A temporary folder, deleted on drop.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("roomwire-redis-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server on a free port, stopped on drop; can be stopped and restarted.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    /// A second port that speaks TLS.
    pub(crate) tls_port: Option<u16>,
    program: &'static str,
    port_option: &'static str,
    arguments: Vec<String>,
    process: Option<Child>,
    folder: Folder,
}

impl RedisServer {
    /// A server that is not started yet.
    pub(crate) fn prepare(arguments: &[&str]) -> Option<Self> {
        Some(Self {
            program: program()?,
            port: free_port(),
            tls_port: None,
            port_option: "--port",
            arguments: arguments.iter().map(ToString::to_string).collect(),
            process: None,
            folder: Folder::new(),
        })
    }

    /// A running server.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let mut server = Self::prepare(arguments)?;
        server.run();
        Some(server)
    }

    /// A running server that speaks TLS only.
    pub(crate) fn start_tls(arguments: &[&str]) -> Option<Self> {
        let mut server = Self::prepare(&[&["--port", "0"], arguments].concat())?;
        server.port_option = "--tls-port";
        server.run();
        Some(server)
    }

    pub(crate) fn run(&mut self) {
        let process = Command::new(self.program)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(&self.folder.0)
            .args(&self.arguments)
            .args([self.port_option, &self.port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        self.wait_for_response();
    }

    fn wait_for_response(&self) {
        wait_until("the server responds", || self.responds());
    }

    /// Whether the server responds, and does not load a file any more.
    fn responds(&self) -> bool {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        // Servers with TLS have no file.
        if self.port_option != "--port" {
            return true;
        }
        let mut response = [0; 8];
        let sent = connection.write_all(b"PING\r\n");
        let exchanged = sent.and_then(|()| connection.read(&mut response));
        exchanged.is_ok_and(|length| length > 0 && response != *b"-LOADING")
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command on a server without TLS.
    pub(crate) fn query<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_query(command).unwrap()
    }

    pub(crate) fn try_query<T: redis::FromRedisValue>(
        &self,
        command: &[&str],
    ) -> redis::RedisResult<T> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        redis::cmd(command[0])
            .arg(&command[1..])
            .query(&mut connection)
    }

    /// Whether INFO contains this line, such as `role:master`.
    pub(crate) fn has_info(&self, line: &str) -> bool {
        let info: redis::RedisResult<String> = self.try_query(&["INFO"]);
        info.is_ok_and(|info| info.lines().any(|is| is == line))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A master, a replica, and three Sentinels that monitor them as `main`.
pub(crate) struct SentinelSetup {
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: Vec<RedisServer>,
}

impl SentinelSetup {
    pub(crate) fn start() -> Option<Self> {
        let master = RedisServer::start(&[])?;
        let port = master.port.to_string();
        let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port])?;
        wait_until("the replica is linked", || {
            replica.has_info("master_link_status:up")
        });
        let sentinels: Vec<_> = (0..3)
            .map(|_| Self::sentinel(&master))
            .collect::<Option<_>>()?;
        let setup = Self {
            servers: [master, replica],
            sentinels,
        };
        wait_until("the Sentinels have discovered each other", || {
            setup.is_complete()
        });
        Some(setup)
    }

    fn sentinel(master: &RedisServer) -> Option<RedisServer> {
        let mut sentinel = RedisServer::prepare(&[])?;
        let file = sentinel.folder.0.join("sentinel.conf");
        let content = format!(
            "bind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n",
            master.port
        );
        std::fs::write(&file, content).unwrap();
        let process = Command::new(sentinel.program)
            .arg(&file)
            .args(["--sentinel", "--port", &sentinel.port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        sentinel.process = Some(process);
        sentinel.wait_for_response();
        Some(sentinel)
    }

    fn is_complete(&self) -> bool {
        let all_report = |kind: &str, count: usize| {
            self.sentinels.iter().all(|sentinel| {
                let found: redis::RedisResult<Vec<redis::Value>> =
                    sentinel.try_query(&["SENTINEL", kind, "main"]);
                found.is_ok_and(|found| found.len() == count)
            })
        };
        all_report("SENTINELS", 2) && all_report("REPLICAS", 1)
    }

    /// The addresses of the Sentinels, `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let address = |sentinel: &RedisServer| format!("127.0.0.1:{}", sentinel.port);
        self.sentinels.iter().map(address).collect()
    }
}

/// Three masters, and a replica of each.
pub(crate) struct RedisCluster {
    pub(crate) masters: Vec<RedisServer>,
    pub(crate) replicas: Vec<RedisServer>,
}

impl RedisCluster {
    /// With certificates, the servers use TLS among each other, and on a second port each.
    pub(crate) fn start(certificates: Option<&Certificates>) -> Option<Self> {
        let start = || {
            let bus_port = free_port().to_string();
            let tls_port = certificates.map(|_| free_port());
            let tls = certificates.zip(tls_port).map(|(certificates, port)| {
                let port = ["--tls-port", &port.to_string()].map(str::to_owned);
                let among = ["--tls-cluster", "yes", "--tls-replication", "yes"].map(str::to_owned);
                [
                    port.to_vec(),
                    among.to_vec(),
                    certificates.options("server", "yes"),
                ]
                .concat()
            });
            let tls = tls.unwrap_or_default();
            let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
            let cluster = [
                ["--cluster-enabled", "yes"],
                ["--cluster-port", &bus_port],
                ["--cluster-node-timeout", "2000"],
                // A replica may be promoted however long it was disconnected.
                ["--cluster-replica-validity-factor", "0"],
            ];
            let mut server = RedisServer::start(&[&cluster.concat()[..], &tls].concat())?;
            server.tls_port = tls_port;
            Some(server)
        };
        let masters: Vec<_> = (0..3).map(|_| start()).collect::<Option<_>>()?;
        let replicas: Vec<_> = (0..3).map(|_| start()).collect::<Option<_>>()?;
        let cluster = Self { masters, replicas };
        cluster.introduce();
        Some(cluster)
    }

    fn introduce(&self) {
        let ranges = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (number, (master, (first, last))) in self.masters.iter().zip(ranges).enumerate() {
            let () = master.query(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            let () = master.query(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        let first = &self.masters[0];
        for server in self.servers().skip(1) {
            let bus_port: Vec<String> = server.query(&["CONFIG", "GET", "cluster-port"]);
            let port = server.tls_port.unwrap_or(server.port).to_string();
            let () = first.query(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port[1]]);
        }
        for (master, replica) in self.masters.iter().zip(&self.replicas) {
            let id: String = master.query(&["CLUSTER", "MYID"]);
            wait_until("a replica has discovered its master", || {
                replica
                    .try_query::<()>(&["CLUSTER", "REPLICATE", &id])
                    .is_ok()
            });
        }
        for replica in &self.replicas {
            wait_until("a replica is linked", || {
                replica.has_info("master_link_status:up")
            });
        }
        wait_until("the cluster works", || self.servers().all(Self::is_fine));
    }

    fn servers(&self) -> impl Iterator<Item = &RedisServer> {
        self.masters.iter().chain(&self.replicas)
    }

    fn is_fine(server: &RedisServer) -> bool {
        let info: redis::RedisResult<String> = server.try_query(&["CLUSTER", "INFO"]);
        let slots: redis::RedisResult<Vec<Vec<redis::Value>>> =
            server.try_query(&["CLUSTER", "SLOTS"]);
        let all_have_replicas =
            slots.is_ok_and(|slots| slots.len() == 3 && slots.iter().all(|range| range.len() == 4));
        info.is_ok_and(|info| info.contains("cluster_state:ok")) && all_have_replicas
    }

    /// The index of the master that initially owns the slot of a channel or key.
    pub(crate) fn owner(&self, name: &str) -> usize {
        let slot: usize = self.masters[0].query(&["CLUSTER", "KEYSLOT", name]);
        match slot {
            ..5461 => 0,
            5461..10_923 => 1,
            _ => 2,
        }
    }

    /// Moves the (empty) slot of a name from one master to another.
    pub(crate) fn move_slot(&self, name: &str, from: usize, to: usize) {
        let slot: u16 = self.masters[0].query(&["CLUSTER", "KEYSLOT", name]);
        let slot = slot.to_string();
        let [source, target] =
            [from, to].map(|index| self.masters[index].query::<String>(&["CLUSTER", "MYID"]));
        let set = |server: &RedisServer, words: &[&str]| {
            let () = server.query(&[&["CLUSTER", "SETSLOT", &slot], words].concat());
        };
        set(&self.masters[to], &["IMPORTING", &source]);
        set(&self.masters[from], &["MIGRATING", &target]);
        for index in [to, from] {
            set(&self.masters[index], &["NODE", &target]);
        }
    }
}

/// An authority, and certificates signed by it for a server at 127.0.0.1 and for a client, as PEM files.
pub(crate) struct Certificates {
    folder: Folder,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let folder = Folder::new();
        let write = |name: &str, text: String| {
            std::fs::write(folder.0.join(name), text).unwrap();
        };
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(vec![]).unwrap();
        // Authorities with the same name could be distinguished only by their signatures.
        let name = folder.0.file_name().unwrap().to_string_lossy().into_owned();
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&authority_key).unwrap();
        write("ca.pem", certificate.pem());
        let issuer = Issuer::new(authority, authority_key);
        for (name, host) in [
            ("server", "127.0.0.1"),
            ("client", "client"),
            ("other", "elsewhere"),
        ] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            write(&format!("{name}.pem"), certificate.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// Server options for the certificate `name`; `clients` is `--tls-auth-clients`: yes, optional or no.
    pub(crate) fn options(&self, name: &str, clients: &str) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [
            ("--tls-cert-file", text(&self.path(&format!("{name}.pem")))),
            ("--tls-key-file", text(&self.path(&format!("{name}.key")))),
            ("--tls-ca-cert-file", text(&self.path("ca.pem"))),
            ("--tls-auth-clients", clients.to_owned()),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value])
        .collect()
    }
}
