/* Rewards for a day of electric power, samples [1, 1, W] whose W numbers share the day
 * evenly; the network's coding turns them into kW (without one they are kW). With p_t
 * the power, h = 24 / W hours per number and (a)+ = max(a, 0):
 *
 *   power_peak    -sum_t h (p_t - reward.peak_cap)+^2                          kW2 h
 *   power_energy  -(E - reward.energy_high)+^2 - (reward.energy_low - E)+^2    kWh2,
 *                 E = sum_t h p_t
 *   power_ramp    -sum_t h (|p_t+1 - p_t| / h - reward.ramp_limit)+^2          kW2 / h
 *   power_cost    -sum_t h p_t price_t, price_t = reward.price_high where the middle of
 *                 number t lies within reward.peak_hours, else reward.price_low
 *
 * all differentiable in the sample (squared hinges have a continuous gradient), by the
 * chain rule through the coding: dp/dx = std, times p where it is logarithmic. Each has
 * an indicator power_*_hard: 1 where the sum is 0 (cost: at most reward.cost_cap), else
 * 0. */
#ifndef SLUICE_STAGES_REWARD_POWER_H
#define SLUICE_STAGES_REWARD_POWER_H

#include "stages/reward/reward.h"

extern const struct reward power_peak, power_energy, power_ramp, power_cost;
extern const struct reward power_peak_hard, power_energy_hard, power_ramp_hard,
    power_cost_hard;

#endif
