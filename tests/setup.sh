#!/bin/sh
# Installs what Sluice needs from the distribution's packages (Debian, Ubuntu).
#
#   tests/setup.sh           libraries and tools to build and run
#   tests/setup.sh --tests   also what only the tests use
#
# Where nothing can be installed (no apt, no rights) it prints what to load or install
# by other means and exits 4. It does nothing when everything is there.
set -eu

build="gcc make pkg-config perl libopenmpi-dev openmpi-bin libhdf5-openmpi-dev hdf5-tools
libpetsc-real-dev libscalapack-openmpi-dev libjansson-dev libyaml-dev libpng-dev libjpeg-dev libssl-dev libcurl4-openssl-dev libdnnl-dev gnuplot-nox"
tests="valgrind python3-h5py python3-numpy python3-xarray python3-h5netcdf python3-matplotlib slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins"

wanted=$build
case "${1-}" in
"") ;;
--tests) wanted="$build $tests" ;;
*)
    echo "usage: tests/setup.sh [--tests]" >&2
    exit 2
    ;;
esac

# What to do by hand; $1 says why.
explain() {
    cat >&2 <<TEXT
setup: $1

Sluice needs: a C11 compiler, GNU make, pkg-config, perl, Open MPI, HDF5 built with it,
PETSc (real, double), ScaLAPACK, jansson, libyaml, libpng, libjpeg-turbo, OpenSSL's libcrypto, libcurl, oneDNN; gnuplot for plots.

With environment modules (names differ from site to site):
    module load gcc openmpi hdf5 petsc netlib-scalapack onednn jansson libyaml libpng libjpeg-turbo openssl curl gnuplot

With Spack:
    spack install openmpi hdf5+mpi petsc+mpi+double netlib-scalapack onednn jansson libyaml libpng libjpeg-turbo openssl curl gnuplot
    spack load openmpi hdf5 petsc netlib-scalapack onednn jansson libyaml libpng libjpeg-turbo openssl curl gnuplot

On Debian or Ubuntu, as root:
    apt-get install$(printf ' %s' $wanted)
TEXT
    exit 4
}

missing() {
    for p in $wanted; do
        state=$(dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | head -n 1) || true
        [ "$state" = installed ] || printf ' %s' "$p"
    done
}

# A complete set that did not come from apt (modules, Spack) is as good.
if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    if command -v mpicc >/dev/null 2>&1 && command -v pkg-config >/dev/null 2>&1 &&
        pkg-config --exists petsc jansson yaml-0.1 libpng libjpeg libcrypto libcurl; then
        echo "setup: no apt here; mpicc and the libraries' pkg-config files are present"
        exit 0
    fi
    explain "this system has no apt, and the libraries are not loaded"
fi

absent=$(missing)
if [ -z "$absent" ]; then
    echo "setup: everything is installed"
    exit 0
fi

as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || explain "missing:$absent; neither root nor sudo"
    sudo -n true 2>/dev/null || [ -t 0 ] || explain "missing:$absent; sudo asks for a password"
    as_root=sudo
fi

echo "setup: installing$absent"
apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y"
# Tests start Slurm themselves; its packages must start nothing.
policy=/usr/sbin/policy-rc.d
case $absent in
*slurm* | *munge*)
    if [ ! -e $policy ]; then
        trap '$as_root rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
        $as_root chmod 755 $policy
    fi
    ;;
esac
# Package lists may be absent or old; a failed refresh is no error if the install works.
$apt install --no-install-recommends $absent >/dev/null 2>&1 || {
    $apt update || true
    $apt install --no-install-recommends $absent || explain "apt-get could not install:$absent"
}
absent=$(missing)
[ -z "$absent" ] || explain "still missing after the installation:$absent"
echo "setup: done"
