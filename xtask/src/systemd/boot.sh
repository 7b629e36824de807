# Boots the Debian in $1 with systemd as its first process, on this machine's kernel: no user namespace
# (BPF counts capabilities of the first one only) and all capabilities. $2 is a new control group.
set -eu
mkdir -p "$2"
echo $$ >"$2/cgroup.procs"
# On a host that has the old hierarchies too, only the new one is shown, in mounts of our own.
exec unshare --mount bash -c '
  mount --make-rprivate /
  umount -R /sys/fs/cgroup 2>/dev/null || true
  mount -t cgroup2 none /sys/fs/cgroup
  exec systemd-nspawn --boot --directory="$1" --machine=asynctrace-try --register=no --keep-unit \
    --private-network --capability=all --link-journal=no --timezone=off --resolv-conf=off \
    --system-call-filter="bpf perf_event_open process_vm_readv pidfd_open pidfd_getfd @debug"
' boot "$1"
