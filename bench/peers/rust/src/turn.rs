//! What is measured, message by message.

use std::collections::HashMap;
use std::time::Instant;

use crate::stream::Failure;

pub struct Turn {
    pub feeds: bool,
    options: HashMap<String, i64>,
    left: i64,
    measuring: bool,
    messages: i64,
    bytes: u64,
    sum: u64,
    times: Vec<u64>,
    sent: Instant,
    wall_before: Instant,
    cpu_before: i64,
    wall: u64,
    cpu: i64,
}

impl Turn {
    pub fn new(feeds: bool, options: &[String]) -> Result<Turn, Failure> {
        let mut all = HashMap::new();
        for o in options {
            let (k, v) = o.split_once('=').ok_or("an option without a value")?;
            all.insert(k.to_string(), v.parse()?);
        }
        let now = Instant::now();
        Ok(Turn {
            feeds,
            left: all["warm"],
            options: all,
            measuring: false,
            messages: 0,
            bytes: 0,
            sum: 0,
            times: Vec::new(),
            sent: now,
            wall_before: now,
            cpu_before: 0,
            wall: 0,
            cpu: 0,
        })
    }

    pub fn text(&self) -> String {
        let size = self.options.get("size").copied().unwrap_or(8) as usize;
        format!("{{\"x\":\"{}\"}}", "x".repeat(size - 8))
    }

    /// Is called before a trip.
    #[inline]
    pub fn start(&mut self) {
        if !self.feeds {
            self.sent = Instant::now();
        }
    }

    /// Takes a message. It returns false when the turn is over.
    #[inline]
    pub fn take(&mut self, p: &[u8]) -> bool {
        if !self.feeds {
            return self.trip(p.len());
        }
        self.bytes += p.len() as u64;
        self.sum += u64::from(p[0]) + u64::from(p[p.len() - 1]);
        self.left -= 1;
        self.left > 0 || self.chunk()
    }

    fn chunk(&mut self) -> bool {
        let chunk = self.options["chunk"];
        self.left = chunk;
        if !self.measuring {
            self.begin();
            return true;
        }
        self.messages += chunk;
        if cpu() - self.cpu_before < self.options["cpu"] && self.messages + chunk <= self.options["messages"] {
            return true;
        }
        self.end();
        false
    }

    fn trip(&mut self, n: usize) -> bool {
        let took = self.sent.elapsed().as_nanos() as u64;
        assert_eq!(n as i64, self.options["size"], "not an echo");
        if !self.measuring {
            self.left -= 1;
            if self.left <= 0 {
                self.times.reserve(self.options["messages"] as usize);
                self.begin();
            }
            return true;
        }
        self.times.push(took);
        self.messages += 1;
        if self.messages < self.options["messages"] {
            return true;
        }
        self.end();
        false
    }

    fn begin(&mut self) {
        self.measuring = true;
        self.wall_before = Instant::now();
        self.cpu_before = cpu();
    }

    fn end(&mut self) {
        self.cpu = cpu() - self.cpu_before;
        self.wall = self.wall_before.elapsed().as_nanos() as u64;
    }

    pub fn print(&self, version: &str) {
        let mut times = String::new();
        if !self.feeds {
            let all: Vec<String> = self.times.iter().map(u64::to_string).collect();
            times = format!(",\"times_ns\":[{}]", all.join(","));
        }
        println!(
            "{{\"version\":\"{version}\",\"messages\":{},\"bytes\":{},\"sum\":{},\"cpu_ns\":{},\"wall_ns\":{}{times}}}",
            self.messages, self.bytes, self.sum, self.cpu, self.wall
        );
    }
}

/// CPU time of this process in nanoseconds, as the kernel accounts it.
fn cpu() -> i64 {
    let mut u: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut u) };
    (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1_000_000_000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1_000
}

/// The version of a library that this program was built with.
pub fn version(library: &str) -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{library}\"\nversion = \""))?;
    rest.split_once('"').map(|(v, _)| v)
}
