"""Sluice for Spack: `spack repo add slurm/packaging/spack`, then in the source tree
`spack dev-build sluice@0.1.0`. Spack 0.23 or later: earlier ones know no "c"."""

from spack.package import *

try:  # Spack 1.0 and later keep build systems beside the packages
    from spack_repo.builtin.build_systems.makefile import MakefilePackage
except ImportError:
    pass


class Sluice(MakefilePackage):
    """Reinforcement-learning fine-tuning of diffusion models as an MPI batch job."""

    license("Apache-2.0")

    version("0.1.0")

    depends_on("c", type="build")
    depends_on("gmake", type="build")
    depends_on("perl", type="build")
    depends_on("pkgconfig", type="build")

    depends_on("mpi")
    depends_on("hdf5@1.10:+mpi+hl")
    depends_on("petsc+mpi+double~complex~int64")
    depends_on("netlib-scalapack")
    depends_on("onednn@2.6: cpu_runtime=omp")
    depends_on("jansson")
    depends_on("libyaml")
    depends_on("libpng")
    depends_on("libjpeg-turbo")
    depends_on("openssl")
    depends_on("curl")
    depends_on("gnuplot", type="run")

    def flags(self):
        """The compiler wrapper adds the target's -march and the libraries' folders."""
        return [
            "MPICC={0}".format(self.spec["mpi"].mpicc),
            "CC_UNDER={0}".format(spack_cc),
            "CFLAGS=-O3 -g",
            "WERROR=",
            "HDF5=hdf5",
            "SCALAPACK=scalapack",
            "COMMIT=spack",
        ]

    def build(self, spec, prefix):
        make(*self.flags())

    def install(self, spec, prefix):
        make("install", "PREFIX={0}".format(prefix), *self.flags())
