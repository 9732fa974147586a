//! The memory of this process and what it may use, as Linux tells. Elsewhere nothing is known.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What the process may use: the least limit of its control groups, or all that the machine has.
    pub limit: Option<u64>,
    /// What it holds now.
    pub resident: Option<u64>,
    /// The most that it ever held.
    pub peak: Option<u64>,
}

impl Memory {
    /// As of now.
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let groups = read("/proc/self/cgroup");
        let machine = field(&read("/proc/meminfo"), "MemTotal:");
        let limits = limit_files(&groups, Path::new("/sys/fs/cgroup"));
        let limits = limits.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
        Self {
            // Version 1 writes "no limit" as a number beyond any machine.
            limit: limits.chain(machine).min(),
            resident: field(&status, "VmRSS:"),
            peak: field(&status, "VmHWM:"),
        }
    }
}

/// The files that may hold a limit for a process in `groups`, a text like `/proc/self/cgroup`: of its groups of both
/// versions and of all groups around them. In a container only the outermost may be there, which is then its own.
fn limit_files(groups: &str, root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (top, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let ancestors = Path::new(group.trim_start_matches('/')).ancestors();
        files.extend(ancestors.map(|group| top.join(group).join(file)));
    }
    files
}

/// A field of `/proc/self/status` or `/proc/meminfo`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_bytes() {
        let status = "Name:\thalo-duchy\nVmHWM:\t   12 kB\nVmRSS:\t    8 kB\n";
        assert_eq!(field(status, "VmHWM:"), Some(12 * 1024));
        assert_eq!(field(status, "VmRSS:"), Some(8 * 1024));
        assert_eq!(field(status, "VmSwap:"), None);
        assert_eq!(field("VmRSS: many kB", "VmRSS:"), None);
    }

    #[test]
    fn limits_are_looked_for_in_all_groups_around() {
        let files = limit_files("4:memory:/a/b\n3:cpu:/\n0::/c\nnonsense\n", Path::new("/groups"));
        let expected = [
            "/groups/memory/a/b/memory.limit_in_bytes",
            "/groups/memory/a/memory.limit_in_bytes",
            "/groups/memory/memory.limit_in_bytes",
            "/groups/c/memory.max",
            "/groups/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
    }

    #[test]
    fn this_process_has_memory_within_its_limit() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let memory = Memory::now();
        assert!(memory.resident.is_some_and(|resident| Some(resident) <= memory.peak), "{memory:?}");
        assert!(memory.peak < memory.limit, "{memory:?}");
    }
}
