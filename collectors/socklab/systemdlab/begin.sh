# Becomes systemd in new namespaces. $1 is the directory of the test, $2 where the units see
# it, $3 where they see its program, $4 its disk, which a reboot leaves as it is.
set -e
program=${3##*/}
disk=$4
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p "$2" /run/lock
mount --bind "$1" "$2"
# What units write into directories of the host stays on the disk of the test.
over() {
  name=$(echo "$1" | tr / _)
  mkdir -p "$disk/$name/upper" "$disk/$name/work"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$disk/$name/upper,workdir=$disk/$name/work" "$1"
}
over /etc
over /usr/local
over /var
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "${3%/*}" /etc/sockwarden
cp "$2/bin/$program" "$3"
mount -t cgroup2 none /sys/fs/cgroup
exec /lib/systemd/systemd --system --unit=default.target --log-target=console --log-level=info --show-status=no
