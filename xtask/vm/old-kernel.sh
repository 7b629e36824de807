#!/bin/sh
# Runs the live tests of attaching on Debian's 6.1 kernel (no uprobe_multi) in an emulated machine.
#
#   xtask/vm/old-kernel.sh [SECONDS]        needs qemu-system-x86, busybox-static, cpio, dpkg
#
# Unpacks the kernel package below target/vm without installing it. -accel tcg: kvm hangs on the
# project's machine, and needs no rights this way. The tests are given twenty times the time.
set -eu
workspace=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$workspace/target}
vm=$target/vm
mkdir -p "$vm"
cd "$vm"
if [ ! -d kernel ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -1)
    apt-get download "$package"
    dpkg -x "$package"*.deb kernel
fi
cargo build --quiet --release --manifest-path "$workspace/fixtures/Cargo.toml" \
    --target-dir "$target/fixtures"
built=$(cd "$workspace" &&
    cargo test -p tracer-user --test live_attach --test live_walk --no-run 2>&1)
binary() {
    path=$(echo "$built" | sed -n "s/.*(\(.*$1-[0-9a-f]*\)).*/\1/p")
    case $path in /*) echo "$path" ;; *) echo "$workspace/$path" ;; esac
}

rm -rf root
mkdir -p root/bin root/proc root/sys root/dev root/tmp root/fixtures
cp "$(command -v busybox)" root/bin/
for tool in sh mount poweroff uname sleep cat ifconfig; do ln -s busybox "root/bin/$tool"; done
for name in live_attach live_walk; do
    strip -o "root/bin/$name" "$(binary $name)"
done
for name in busy panics blocking; do
    strip --strip-debug -o "root/fixtures/$name" "$target/fixtures/release/$name"
done
# These are walked by their debug information.
for name in shapes leaves; do cp "$target/fixtures/release/$name" root/fixtures/; done
ldd "$(binary live_attach)" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "root/$(dirname "$library")"
    cp -L "$library" "root/$library"
done
cat > root/init <<'END'
#!/bin/sh
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
export PATH=/bin
ifconfig lo 127.0.0.1 up
export ASYNCTRACE_FIXTURES=/fixtures ASYNCTRACE_SLOW=1 RUST_BACKTRACE=0
echo "kernel: $(uname -r)"
live_walk --nocapture --test-threads=1 2>&1
for name in with_perf_links records_name ids_are a_thousand_panics the_end_of blocking; do
    live_attach "$name" --nocapture --test-threads=1 2>&1
done
poweroff -f
END
chmod +x root/init
(cd root && find . | cpio --quiet -o -H newc | gzip -1) > initrd.gz
timeout "${1:-900}" qemu-system-x86_64 -accel tcg -m 3072 -smp 2 -nographic -no-reboot \
    -kernel kernel/boot/vmlinuz-* -initrd initrd.gz \
    -append "console=ttyS0 quiet panic=-1" | tee vm.log
! grep -q "test result: FAILED" vm.log
