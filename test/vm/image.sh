#!/usr/bin/env bash
# Builds the guest of the VM tests: Debian 12 with its own kernel (which has the vivid driver), systemd, v4l-utils and mosquitto.
# test/vm/image.sh FOLDER   leaves disk.img, vmlinuz and initrd.img there. Needs root, debootstrap, e2fsprogs and a Debian mirror.
# No loop device, no mount of the image: mke2fs fills it from a folder.
set -euo pipefail
out=$1
mirror=${IRST_EDGE_DEBIAN_MIRROR:-http://deb.debian.org/debian}
mkdir -p "$out"
work=$(mktemp -d "$out/build.XXXXXX")
root=$work/root
mounted=0
cleanup() {
  [ "$mounted" = 0 ] || umount "$root/proc"
  rm -rf "$work"
}
trap cleanup EXIT

# The node binary needs libstdc++; adduser and the rest are what a Debian package of the service may depend on.
packages=systemd,systemd-sysv,dbus,kmod,udev,iproute2,procps,psmisc,v4l-utils,mosquitto,mosquitto-clients,ca-certificates
packages+=,libstdc++6,adduser,init-system-helpers,initramfs-tools,zstd
debootstrap --variant=minbase --include="$packages" bookworm "$root" "$mirror" >"$out/debootstrap.log" 2>&1 || {
  tail -n 20 "$out/debootstrap.log" >&2
  exit 1
}

# A small initramfs is unpacked sooner: the disk is virtio and the file system ext4, nothing else is needed.
sed -i 's/^MODULES=.*/MODULES=list/' "$root/etc/initramfs-tools/initramfs.conf"
printf '%s\n' virtio_pci virtio_blk ext4 >"$root/etc/initramfs-tools/modules"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mount -t proc proc "$root/proc"
mounted=1
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qq -o Acquire::Retries=3 install -y --no-install-recommends linux-image-amd64 \
  >"$out/kernel.log" 2>&1 || {
  tail -n 20 "$out/kernel.log" >&2
  exit 1
}
rm "$root/usr/sbin/policy-rc.d"
umount "$root/proc"
mounted=0

cp "$(readlink -f "$root/vmlinuz")" "$out/vmlinuz" 2>/dev/null || cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd.img"

# What no test needs is not loaded, not started and not stored.
rm -rf "$root"/boot/* "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/locale
chroot "$root" systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
  dpkg-db-backup.timer systemd-networkd-wait-online.service systemd-timesyncd.service getty@tty1.service systemd-update-utmp.service \
  systemd-update-utmp-runlevel.service keyboard-setup.service console-setup.service systemd-pstore.service man-db.timer
chroot "$root" systemctl disable --quiet mosquitto.service
chroot "$root" systemctl set-default --quiet multi-user.target
chroot "$root" passwd --quiet --delete root
echo irst-vm >"$root/etc/hostname"
echo '127.0.0.1 localhost irst-vm' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
mkdir -p "$root/payload" "$root/var/log/journal"
# nofail: the image can be booted by hand without it.
printf '%s\n' '/dev/vda / ext4 errors=remount-ro 0 1' 'LABEL=irst-payload /payload ext4 ro,nofail 0 0' >"$root/etc/fstab"
cat >"$root/etc/systemd/system/vm-test.service" <<'UNIT'
[Unit]
Description=What the second disk says
ConditionPathExists=/payload/run
RequiresMountsFor=/payload

[Service]
Type=exec
ExecStart=/bin/sh /payload/run
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl enable --quiet vm-test.service

rm -f "$out/disk.img.new"
mke2fs -q -t ext4 -L irst-root -E root_owner=0:0 -d "$root" "$out/disk.img.new" 3G
mv "$out/disk.img.new" "$out/disk.img"
