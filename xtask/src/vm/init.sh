#!/bin/busybox sh
# The first process of the machine: runs the tests of /vm/plan one after the other and says what
# came of each in lines that begin with "@@" (console.rs reads them).
export PATH=/bin:/usr/bin:/sbin:/usr/sbin HOME=/root
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts none /dev/pts
mount -t tmpfs none /tmp
mount -t tracefs none /sys/kernel/tracing
mount -t cgroup2 none /sys/fs/cgroup
ifconfig lo 127.0.0.1 up
. /vm/environment
# Targets end by themselves, after ten minutes unless told otherwise.
export ASYNCTRACE_SLOW=1 RUST_BACKTRACE=0 NO_COLOR=1 FIXTURE_SECONDS=100000
echo "@@kernel $(uname -r)"
while read -r suite name seconds binary; do
    echo "@@begin $suite::$name"
    before=$(cut -d. -f1 /proc/uptime)
    # What every thread stands at, shortly before its time is over.
    (
        sleep $((seconds - 10))
        for thread in /proc/[0-9]*/task/[0-9]*; do
            echo "$thread $(cat "$thread/comm") $(cut -d' ' -f2 "$thread/syscall")"
            grep State "$thread/status"
            cat "$thread/stack"
        done
    ) 2>/dev/null &
    timeout -s KILL "$seconds" "$binary" --exact "$name" --nocapture --test-threads=1 \
        </dev/null 2>&1
    code=$?
    # Whatever it left: everything but this shell.
    kill -9 -1 2>/dev/null
    echo
    echo "@@end $suite::$name $code $(($(cut -d. -f1 /proc/uptime) - before))"
done </vm/plan
echo "@@done"
sync
poweroff -f
