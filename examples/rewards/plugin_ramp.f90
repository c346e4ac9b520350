! A reward in Fortran: minus the largest step between two neighbouring numbers of a series,
! without a gradient. PLUGIN.md says how it is built and run.
!
! The types mirror sluice_reward.h, field by field: C pointers and functions are c_ptr and
! c_funptr. Strings and the description are variables of the module, so they stay.
module ramp
    use, intrinsic :: iso_c_binding
    implicit none

    type, bind(c) :: batch_t ! struct sluice_reward_batch
        integer(c_int32_t) :: size, reserved
        integer(c_int64_t) :: n, channels, height, width, iteration, first
        type(c_ptr) :: sample, label, text, score, status, gradient, message
        integer(c_int64_t) :: message_size
    end type

    type, bind(c) :: description_t ! struct sluice_reward_description
        integer(c_int32_t) :: size, abi, flags, reserved
        type(c_ptr) :: name, units
        type(c_funptr) :: open, score, close
    end type

    integer(c_int32_t), parameter :: abi = 1, deterministic = 1, threads = 4
    character(kind=c_char, len=5), target :: name = "ramp" // c_null_char
    character(kind=c_char, len=2), target :: units = "1" // c_null_char
    type(description_t), target :: description

contains

    integer(c_int) function score_ramp(state, batch) bind(c)
        type(c_ptr), value :: state
        type(batch_t), intent(in) :: batch
        real(c_float), pointer :: x(:, :)
        real(c_double), pointer :: score(:)
        integer(c_int64_t) :: i, d
        d = batch%channels * batch%height * batch%width
        call c_f_pointer(batch%sample, x, [d, batch%n])
        call c_f_pointer(batch%score, score, [batch%n])
        do i = 1, batch%n
            score(i) = -maxval(abs(real(x(2:d, i), c_double) - real(x(1:d - 1, i), c_double)))
        end do
        score_ramp = merge(0, 1, d > 1 .or. c_associated(state))
    end function

    type(c_ptr) function sluice_reward_entry(host) bind(c)
        type(c_ptr), value :: host
        description = description_t(int(c_sizeof(description), c_int32_t), abi, &
            ior(deterministic, threads), 0, c_loc(name), c_loc(units), c_null_funptr, &
            c_funloc(score_ramp), c_null_funptr)
        sluice_reward_entry = merge(c_loc(description), c_null_ptr, c_associated(host))
    end function
end module
