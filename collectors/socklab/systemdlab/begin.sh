# Becomes systemd in new namespaces. $1 is the directory of the test, $2 where the units see
# it, $3 where they see its program.
set -e
program=${3##*/}
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p "$2" /run/lock /run/over
mount --bind "$1" "$2"
# What units write into directories of the host stays here.
over() {
  name=$(echo "$1" | tr / _)
  mkdir -p "/run/over/$name/upper" "/run/over/$name/work"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=/run/over/$name/upper,workdir=/run/over/$name/work" "$1"
}
over /etc
over /usr/local
over /var
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "${3%/*}" /etc/sockwarden
cp "$2/bin/$program" "$3"
mount -t cgroup2 none /sys/fs/cgroup
exec /lib/systemd/systemd --system --unit=default.target --log-target=console --log-level=info --show-status=no
