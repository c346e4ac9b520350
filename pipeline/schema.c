/* One line per key: name, type, default, range, words, whether results depend on it, help.
 * Defaults named "paper" are those of Black et al. 2023 (DDPO). */
#include "pipeline/schema.h"

#include "pipeline/compute.h"

#include "io/sys/err.h"
#include "io/sys/file.h"

#include <string.h>

#define ANY 0, 0
#define COUNT 1, 1e9
#define SECONDS 0, 1e9
#define YES true
#define NO false

/* clang-format off */
const struct config_key schema[] = {
    {"run.dir", CONFIG_TEXT, "", ANY, NULL, NO,
     "run directory: shards, policies, metrics, report (required by `sluice run`)"},
    {"run.seed", CONFIG_INT, "0", 0, 9007199254740992.0, NULL, YES,
     "key of all random numbers"},
    {"run.iterations", CONFIG_INT, "10", 0, 1e9, NULL, NO,
     "iterations of rollout, reward, advantage, update; raise it to continue a finished run"},
    {"run.max_walltime", CONFIG_DURATION, "0", SECONDS, NULL, NO,
     "stop cleanly (exit 75) before this much time has passed; 0: no limit"},
    {"run.stall_timeout", CONFIG_DURATION, "600", SECONDS, NULL, NO,
     "a rank without progress for so long ends the job (exit 8); 0: never"},
    {"run.start_timeout", CONFIG_DURATION, "300", SECONDS, NULL, NO,
     "MPI that has not started on all ranks after so long ends them (exit 8); 0: never"},
    {"run.keep_policies", CONFIG_INT, "3", 0, 1e9, NULL, NO,
     "newest policy files kept; 0: all"},
    {"run.keep_every", CONFIG_INT, "0", 0, 1e9, NULL, NO,
     "also keep every Nth policy file; 0: none"},
    {"run.keep_best", CONFIG_BOOL, "true", ANY, NULL, NO,
     "also keep the policy with the best mean reward (mean of reward.guard where there is one; "
     "with surrogate.kind, of the true answers)"},
    {"run.keep_shards", CONFIG_INT, "0", 0, 1e9, NULL, NO,
     "newest iterations whose shards are kept; 0: all"},
    {"run.kl_budget", CONFIG_REAL, "0", 0, 1e9, NULL, YES,
     "end the run (exit 0) once the KL of whole chains to the first policy, mean over the "
     "iteration's samples, exceeds this, in nats; rollouts then evaluate that policy too; 0: "
     "no limit"},
    {"run.guard_drop", CONFIG_REAL, "0", 0, 1e12, NULL, NO,
     "end the run (exit 0) once the mean of reward.guard lies further than this below that of "
     "the first iteration, in its units; 0: never"},
    {"run.guard_errors", CONFIG_REAL, "0", 0, 1e6, NULL, NO,
     "the same, in standard errors of the difference; 0: never"},
    {"run.log_level", CONFIG_CHOICE, "info", ANY, "quiet|warn|info|debug", NO,
     "how much the log says"},

    {"model.path", CONFIG_TEXT, "", ANY, NULL, YES,
     "model folder in the diffusers layout (model_index.json or config.json)"},
    {"model.dtype", CONFIG_CHOICE, "f32", ANY, COMPUTE_DTYPES, YES,
     "activations of the network; weights, sums and log-probabilities stay f32. bf16 needs "
     "AMX, else it is f32 with a warning; bf16-emulated runs anywhere, at "
     "f32's speed"},
    {"model.gradient_checkpointing", CONFIG_BOOL, "false", ANY, NULL, NO,
     "update: keep only the layers' ends and compute their inside again in the backward "
     "pass; same results, less memory (`sluice plan` says how much), a third slower"},
    {"model.micro_batch", CONFIG_INT, "16", 1, 4096, NULL, YES,
     "most samples per network evaluation, in rollout and update; the last batch of a shard or "
     "of a step is smaller; memory grows with it"},
    {"model.backend", CONFIG_CHOICE, "onednn", ANY, "onednn|reference", YES,
     "kernels: oneDNN, or plain loops (slow, for comparison)"},

    {"sampler.kind", CONFIG_CHOICE, "ddim", ANY, "ddim|ddpm", YES,
     "sampler; paper: ddim"},
    {"sampler.steps", CONFIG_INT, "50", 1, 1000, NULL, YES,
     "denoising steps per sample; paper: 50"},
    {"sampler.eta", CONFIG_REAL, "1.0", 0, 1, NULL, YES,
     "noise of ddim: 0 deterministic (no likelihood), 1 full; paper: 1"},
    {"sampler.spacing", CONFIG_CHOICE, "model", ANY, "model|leading|trailing|linspace", YES,
     "where the steps lie in training time; model: as the model's scheduler says"},
    {"sampler.clip_sample", CONFIG_CHOICE, "model", ANY, "model|true|false", YES,
     "clip the predicted clean sample; model: as the model's scheduler says"},
    {"sampler.sigma_min", CONFIG_REAL, "0", 0, 1, NULL, YES,
     "steps with a standard deviation up to this have no likelihood and are masked"},
    {"sampler.clamp_last", CONFIG_BOOL, "true", ANY, NULL, YES,
     "the last step lands on training time 0 and keeps its noise, as the paper's code does"},
    {"sampler.guidance", CONFIG_REAL, "1", 0, 100, NULL, YES,
     "classifier-free guidance: 1 none; else the prediction is without + guidance * (given - "
     "without) the class, in rollout and update, at twice the cost; needs null_class"},

    {"rollout.samples", CONFIG_INT, "64", 1, 1e8, NULL, YES,
     "samples per iteration; paper: 256"},
    {"rollout.copies", CONFIG_INT, "1", 1, 1e6, NULL, YES,
     "samples per drawn prompt or class"},
    {"rollout.shard_samples", CONFIG_INT, "16", 1, 1e6, NULL, YES,
     "samples per shard file, the unit of work that ranks lease; micro-batches end at its end, "
     "where nothing is padded"},
    {"rollout.classes", CONFIG_INT_LIST, "[]", 0, 1e6, NULL, YES,
     "class labels to draw from; empty: all of the model's"},

    {"search.kind", CONFIG_TEXT, "none", ANY, NULL, YES,
     "search at sampling time with the reward at hand; the end of `sluice config` lists them; "
     "for methods that learn from any final samples: distil, rwr, rwr_sparse"},
    {"search.candidates", CONFIG_INT, "4", 1, 1e4, NULL, YES,
     "best_of: chains per sample kept; svdd: next states tried at each step; Li et al. 2024: 20"},
    {"search.alpha", CONFIG_REAL, "0.1", 0, 1e9, NULL, YES,
     "svdd, smc: temperature in the reward's units; 0 (svdd): always the best candidate"},
    {"search.resample", CONFIG_REAL, "0.5", 0, 1, NULL, YES,
     "smc: resample where the effective number of samples falls below this fraction; the end "
     "always does"},
    {"search.weight", CONFIG_REAL, "1", 0, 1e9, NULL, YES,
     "noise, dps: nats that a reward of 1 is worth"},
    {"search.fidelity", CONFIG_CHOICE, "path", ANY, "path|typical", YES,
     "noise: what the reward is weighed against: |move|^2 / 2, the KL of the path; or how "
     "untypical the noise has become of normal numbers (Tang et al. 2024)"},
    {"search.iterations", CONFIG_INT, "20", 0, 1e6, NULL, YES,
     "noise: most iterations per sample; each is two forward and one backward evaluation per "
     "step of the sampler"},
    {"search.tolerance", CONFIG_REAL, "1e-3", 0, 1e9, NULL, YES,
     "noise: stop where the gradient by the normal numbers has this norm"},
    {"search.method", CONFIG_CHOICE, "lmvm", ANY, "lmvm|cg", YES,
     "noise: limited-memory BFGS or nonlinear conjugate gradients"},
    {"search.start", CONFIG_BOOL, "true", ANY, NULL, YES,
     "noise: move the start of the chain too, not its steps alone"},

    {"reward.name", CONFIG_TEXT, "jpeg_compressibility", ANY, NULL, YES,
     "reward to maximise; the end of `sluice config` lists them"},
    {"reward.guard", CONFIG_TEXT, "", ANY, NULL, YES,
     "a second reward that is scored beside it and enters no loss: metrics guard_mean and "
     "guard_error, run.guard_drop, and run.keep_best by it; empty: none"},
    {"reward.weight", CONFIG_REAL, "1", -1e9, 1e9, NULL, YES,
     "the reward is weight * (score - offset) / scale; of a component: its part of the sum, 0: "
     "it is only watched"},
    {"reward.offset", CONFIG_REAL, "0", -1e30, 1e30, NULL, YES, "what is taken off a score"},
    {"reward.scale", CONFIG_REAL, "1", 1e-30, 1e30, NULL, YES,
     "the score's unit: what it is divided by"},
    {"reward.infeasible_score", CONFIG_REAL, "none", -1e30, 1e30, "none", YES,
     "what an object that is not valid counts as, before offset and scale; none: it has no reward "
     "and stays out of the update"},
    {"reward.deterministic", CONFIG_CHOICE, "auto", ANY, "auto|true|false", YES,
     "whether equal samples get equal scores, so that one answer serves all; auto: as the reward "
     "says, which is no for http and exec"},
    {"reward.mixing", CONFIG_CHOICE, "reward", ANY, "reward|normalised|advantage", YES,
     "mixture: add the components; add them with mean 0 and deviation 1 over the iteration; or "
     "add the advantages that the method gives to each"},
    {"reward.retries", CONFIG_INT, "0", 0, 1000, NULL, YES,
     "how often a sample whose scoring failed or timed out is scored again, at once"},
    {"reward.on_failure", CONFIG_CHOICE, "drop", ANY, "drop|drop_group|stop", YES,
     "a sample that cannot be scored: leave it out of the update, all samples of its prompt "
     "too, or stop the run"},
    {"reward.cache", CONFIG_TEXT, "", ANY, NULL, NO,
     "rewards that ask other programs: folder of what they have said, may serve many runs; "
     "empty: scores/ in the run directory"},
    {"reward.classifier", CONFIG_TEXT, "", ANY, NULL, YES,
     "classifier: the folder that `sluice classifier` wrote"},
    {"reward.target_class", CONFIG_INT, "label", 0, 1e6, "label", YES,
     "classifier: the joint label y of log p(y|x); label: the sample's own"},
    {"reward.label_weights", CONFIG_TEXT, "", ANY, NULL, YES,
     "classifier: weights of its labels' terms, as in 2,1; empty: 1 each"},
    {"reward.max_failed_fraction", CONFIG_REAL, "0.5", 0, 1, NULL, YES,
     "stop (exit 7) when more than this fraction of an iteration failed"},

    {"reward.peak_cap", CONFIG_REAL, "3", 0, 1e9, NULL, YES,
     "power_peak: power that a day may reach, kW"},
    {"reward.energy_low", CONFIG_REAL, "0", 0, 1e9, NULL, YES,
     "power_energy: least energy of a day, kWh"},
    {"reward.energy_high", CONFIG_REAL, "24", 0, 1e9, NULL, YES,
     "power_energy: most energy of a day, kWh"},
    {"reward.ramp_limit", CONFIG_REAL, "1", 0, 1e9, NULL, YES,
     "power_ramp: change of power that is free, kW per hour"},
    {"reward.price_low", CONFIG_REAL, "0.15", -1e6, 1e6, NULL, YES,
     "power_cost: price of a kWh outside the peak hours"},
    {"reward.price_high", CONFIG_REAL, "0.30", -1e6, 1e6, NULL, YES,
     "power_cost: price of a kWh within the peak hours"},
    {"reward.peak_hours", CONFIG_INT_LIST, "[7, 22]", 0, 24, NULL, YES,
     "power_cost: hours of the high price, [from, to]; from > to goes over midnight; [] none"},
    {"reward.cost_cap", CONFIG_REAL, "6", -1e9, 1e9, NULL, YES,
     "power_cost_hard: what a day may cost"},
    {"reward.table", CONFIG_TEXT, "", ANY, NULL, YES,
     "table, molecule_property: FILE.csv:KEYCOLUMN:SCORECOLUMN, columns by the names in the "
     "first line"},
    {"reward.fit_rows", CONFIG_INT, "5000", 16, 1e9, NULL, YES,
     "molecule_property: most rows of reward.table that its model is fitted on"},
    {"reward.noise", CONFIG_REAL, "0", 0, 1e9, NULL, YES,
     "table: deviation of the normal noise that is added to every answer"},
    {"reward.budget", CONFIG_INT, "0", 0, 1e15, NULL, NO,
     "samples that the reward may be asked for: the run ends (exit 0) before an iteration would "
     "ask more; 0: no limit"},
    {"reward.reference", CONFIG_TEXT, "", ANY, NULL, YES,
     "memorisation: data file of pictures or numbers, or FILE.csv:COLUMN of texts"},
    {"reward.reference_rows", CONFIG_INT, "0", 0, 1e12, NULL, YES,
     "memorisation: compare with the first so many samples of it; 0: all"},
    {"reward.distance_cap", CONFIG_REAL, "1", 0, 1e9, NULL, YES,
     "memorisation: distance beyond which the reward does not grow"},

    {"plugin.path", CONFIG_TEXT, "", ANY, NULL, YES,
     "plugin: the shared object that scores (stages/reward/plugin/sluice_reward.h)"},
    {"plugin.options", CONFIG_TEXT, "", ANY, NULL, YES,
     "plugin: text that is handed to it as it stands"},

    {"exec.command", CONFIG_TEXT, "", ANY, NULL, YES,
     "reward exec: the program that scores, with its arguments, split as a shell splits words "
     "(no shell runs); stages/reward/EXEC.md is what it must speak"},
    {"exec.protocol", CONFIG_CHOICE, "json", ANY, "json|binary", NO,
     "lines of JSON (texts as strings), or records of float32"},
    {"exec.workers", CONFIG_INT, "1", 1, 256, NULL, NO,
     "programs that run at the same time, on each rank that scores"},
    {"exec.batch", CONFIG_INT, "16", 1, 1e6, NULL, NO,
     "most samples per request"},
    {"exec.timeout", CONFIG_DURATION, "300", 1e-3, 1e9, NULL, NO,
     "a request without a reply for so long: the program is killed"},
    {"exec.start_timeout", CONFIG_DURATION, "120", 1e-3, 1e9, NULL, NO,
     "time from a program's start to its first line"},
    {"exec.attempts", CONFIG_INT, "2", 1, 100, NULL, NO,
     "a request whose program ended, hung or wrote nonsense is asked so often in all; then its "
     "samples have failed or timed out"},
    {"exec.restarts", CONFIG_INT, "10", 0, 1e6, NULL, NO,
     "how often a rank starts a program again; after that its samples fail"},

    {"http.url", CONFIG_TEXT, "", ANY, NULL, NO,
     "http: address of the service, https://host:port/path; several with commas between share the "
     "work. No user or password in it"},
    {"http.protocol", CONFIG_CHOICE, "scores", ANY, "scores|chat", YES,
     "http: scores: a POST of samples, a list of numbers back; chat: a question to an "
     "OpenAI-compatible model for each sample"},
    {"http.token_env", CONFIG_TEXT, "", ANY, NULL, NO,
     "http: name of the environment variable with the bearer token (never the token itself)"},
    {"http.token_file", CONFIG_TEXT, "", ANY, NULL, NO,
     "http: or the file with it, which only its owner should be able to read"},
    {"http.ca_file", CONFIG_TEXT, "", ANY, NULL, NO,
     "http: certificates of authorities to trust (PEM), in place of the system's"},
    {"http.insecure", CONFIG_BOOL, "false", ANY, NULL, NO,
     "http: do not check the service's certificate; for tests"},
    {"http.batch", CONFIG_INT, "16", 1, 1e6, NULL, NO,
     "http: most samples of one request; chat: 1"},
    {"http.in_flight", CONFIG_INT, "16", 1, 4096, NULL, NO,
     "http: most requests at a time of all reward ranks together, at least 1 each"},
    {"http.connect_timeout", CONFIG_DURATION, "10", 0.001, 1e6, NULL, NO,
     "http: time for a connection"},
    {"http.timeout", CONFIG_DURATION, "120", 0.001, 1e6, NULL, NO,
     "http: time for one attempt of a request, connection and answer included"},
    {"http.silence", CONFIG_DURATION, "0", 0, 1e6, NULL, NO,
     "http: end an attempt that has moved no byte for so long, whole seconds (a service that "
     "computes is silent too); 0: http.timeout alone counts"},
    {"http.attempts", CONFIG_INT, "5", 1, 1000, NULL, NO,
     "http: attempts of a request that meets a broken connection, a time-out, 408, 425, 429 or 5xx"},
    {"http.backoff", CONFIG_DURATION, "0.5", 0, 1e6, NULL, NO,
     "http: wait before attempt k + 1: uniform in [0, min(cap, this * 2^(k-1))], after what "
     "Retry-After asks for"},
    {"http.backoff_cap", CONFIG_DURATION, "30", 0, 1e6, NULL, NO, "http: that cap"},
    {"http.retry_after_cap", CONFIG_DURATION, "60", 0, 1e6, NULL, NO,
     "http: longest wait that a service's Retry-After is granted"},
    {"http.breaker", CONFIG_INT, "8", 1, 1e9, NULL, NO,
     "http: failures in a row after which an address is left out"},
    {"http.cooldown", CONFIG_DURATION, "10", 0, 1e6, NULL, NO,
     "http: time until one request tries such an address again"},
    {"http.patience", CONFIG_DURATION, "60", 0, 1e6, NULL, NO,
     "http: with every address left out, requests wait so long and then fail at once"},
    {"http.max_response", CONFIG_INT, "1048576", 64, 1e9, NULL, NO,
     "http: most bytes of a reply, after decompression"},
    {"http.prompts", CONFIG_TEXT, "", ANY, NULL, YES,
     "http: text file with a line for each class, what {prompt} and \"$prompt\" stand for; "
     "without classes its first line counts"},
    {"http.request", CONFIG_TEXT, "{\"samples\": \"$samples\"}", ANY, NULL, YES,
     "http, scores: JSON of a request; \"$samples\" is the list of http.item; without it one "
     "sample goes by request, and the names of http.item may stand here"},
    {"http.item", CONFIG_TEXT, "", ANY, NULL, YES,
     "http, scores: JSON of a sample, with \"$png\", \"$jpeg\" (base64), \"$data_url\", "
     "\"$values\", \"$text\", \"$prompt\", \"$label\", \"$index\", \"$iteration\"; empty: png, "
     "values or text, with label and prompt where there are any"},
    {"http.response", CONFIG_TEXT, "scores", ANY, NULL, YES,
     "http, scores: where the reply has the numbers, as in scores or results[].score"},
    {"http.model", CONFIG_TEXT, "", ANY, NULL, YES, "http, chat: name of the model"},
    {"http.question", CONFIG_TEXT, "", ANY, NULL, YES,
     "http, chat: what it is asked, with {prompt}, {label} and, for series and texts, {sample}"},
    {"http.score", CONFIG_CHOICE, "yes_no", ANY, "yes_no|number|compare|recall", YES,
     "http, chat: P(yes) against P(no) of the first token; the first number of the answer; F1, "
     "or recall, of the answer's words against the prompt's"},
    {"http.number_low", CONFIG_REAL, "0", -1e12, 1e12, NULL, YES,
     "http, chat, number: the number that scores 0; smaller ones are failures"},
    {"http.number_high", CONFIG_REAL, "10", -1e12, 1e12, NULL, YES,
     "http, chat, number: the number that scores 1; bigger ones are failures"},
    {"http.max_tokens", CONFIG_INT, "auto", 1, 1e6, "auto", YES,
     "http, chat: length of an answer; auto: 4 for yes_no, else 64"},

    {"components", CONFIG_PARTS, "", ANY, "reward|http|exec|plugin", YES,
     "mixture: NAME: {name: REWARD, weight: W, ...}, each with keys of its own beside those "
     "above; reward.guard may name one, which then is no part of the sum"},

    {"surrogate.kind", CONFIG_CHOICE, "none", ANY, "none|greedy|ucb|bootstrap|thompson", YES,
     "learn the reward from few answers and train on its optimistic estimate: the mean; mean + "
     "bonus * deviation; the best of several fits; the value under a draw of the posterior"},
    {"surrogate.period", CONFIG_INT, "5", 1, 1e9, NULL, YES,
     "iterations per round; the first of a round asks the true reward, all train on the estimate"},
    {"surrogate.rounds", CONFIG_INT, "4", 1, 1e9, NULL, YES,
     "rounds that ask; later ones keep the last estimate; 1: not adaptive; SEIKO: 4"},
    {"surrogate.queries", CONFIG_INT, "auto", 1, 1e8, "auto", YES,
     "samples that an asking iteration asks, from the first; auto: all"},
    {"surrogate.noise", CONFIG_REAL, "0", 0, 1e9, NULL, YES,
     "deviation of normal noise that is added to every answer; SEIKO: 0.1"},
    {"surrogate.feature_kind", CONFIG_CHOICE, "auto", ANY, "auto|onehot_pairs|fourier|linear", YES,
     "what the estimate is linear in: characters and pairs of them (text), random Fourier "
     "features, or the sample's elements; auto: onehot_pairs for text, else fourier"},
    {"surrogate.features", CONFIG_INT, "auto", 1, 8191, "auto", YES,
     "fourier: how many; auto: 256"},
    {"surrogate.length", CONFIG_REAL, "auto", 1e-9, 1e9, "auto", YES,
     "fourier: distance of samples over which rewards differ; auto: root of their elements"},
    {"surrogate.lambda", CONFIG_REAL, "1", 1e-12, 1e12, NULL, YES,
     "ridge: noise variance over the prior variance of a feature's weight; SEIKO: 0.001"},
    {"surrogate.bonus", CONFIG_REAL, "0.1", 0, 1e9, NULL, YES,
     "ucb: C of the bonus; thompson: deviation of the draw; about the answers' noise times "
     "1 to 3; SEIKO: 0.01"},
    {"surrogate.heads", CONFIG_INT, "4", 2, 1000, NULL, YES,
     "bootstrap: fits, each to a resample of the answers; SEIKO: 4"},

    {"algorithm.name", CONFIG_TEXT, "ddpo_is", ANY, NULL, YES,
     "method; the end of `sluice config` lists them; paper: ddpo_is"},
    {"algorithm.logprob", CONFIG_CHOICE, "mean", ANY, "mean|sum", YES,
     "log-probability over the elements of a sample inside the ratio; paper: mean"},
    {"algorithm.clip_range", CONFIG_REAL, "1e-4", 1e-12, 1e6, NULL, YES,
     "|ratio - 1| beyond which the gradient stops, in that reduction; paper: 1e-4 "
     "(mean, 16384 elements); `sluice plan` prints the equivalent"},
    {"algorithm.adv_clip", CONFIG_REAL, "5", 1e-6, 1e6, NULL, YES,
     "advantages are clipped to +- this many standard deviations; paper: 5"},
    {"algorithm.baseline", CONFIG_CHOICE, "batch", ANY, "batch|tracker", YES,
     "mean and deviation of rewards: over the iteration, or per prompt over time (paper)"},
    {"algorithm.tracker_buffer", CONFIG_INT, "16", 1, 1e6, NULL, YES,
     "rewards remembered per prompt; paper: 16"},
    {"algorithm.tracker_min_count", CONFIG_INT, "16", 1, 1e6, NULL, YES,
     "fewer remembered than this: the iteration's statistics are used; paper: 16"},

    {"algorithm.kl_weight", CONFIG_REAL, "auto", 0, 1e9, "auto", YES,
     "weight of the distance to the first policy: KL of a sampler step, reduced as logprob "
     "says, or the squared difference of outputs; auto: the method's paper; 0: none"},
    {"algorithm.kl_previous_weight", CONFIG_REAL, "0", 0, 1e9, NULL, YES,
     "weight of the KL of a sampler step to the policy that the round of surrogate.period "
     "iterations started with, reduced as logprob says; 0: none; methods on the chain but adjoint_matching"},
    {"algorithm.reference", CONFIG_INT, "first", 0, 1e9, "first|ema", YES,
     "the policy that kl_weight measures the distance to: the first; a running average of the "
     "policies so far; or version N (the first until it exists)"},
    {"algorithm.reference_decay", CONFIG_REAL, "0.9", 0, 0.99999999, NULL, YES,
     "reference: ema: what each iteration keeps of the average"},
    {"algorithm.entropy_weight", CONFIG_REAL, "0", 0, 1e9, NULL, YES,
     "adds this times the logarithm of the distance to the entropy_neighbour-th nearest other "
     "sample to the reward that advantages are made from; 0: off"},
    {"algorithm.entropy_neighbour", CONFIG_INT, "1", 1, 1e6, NULL, YES,
     "see entropy_weight"},
    {"algorithm.entropy_by_prompt", CONFIG_BOOL, "false", ANY, NULL, YES,
     "entropy_weight: neighbours are samples of the same prompt, not of the iteration"},
    {"algorithm.group_std", CONFIG_CHOICE, "prompt", ANY, "prompt|batch", YES,
     "flow_grpo, nft: deviation that advantages are divided by: of the prompt's rewards, or of the "
     "iteration's"},
    {"algorithm.dpok_reward_weight", CONFIG_REAL, "10", 0, 1e9, NULL, YES,
     "dpok: weight of the reward's part of the loss; paper: 10"},
    {"algorithm.draws", CONFIG_INT, "auto", 1, 1e6, "auto", YES,
     "methods without trajectories: noised copies of a sample per pass over the samples; "
     "auto: 1; nft: the sampler's steps times update.timestep_fraction, and at most its steps"},
    {"algorithm.rwr_beta", CONFIG_REAL, "0.2", -1e9, 1e9, NULL, YES,
     "rwr: a sample's weight is exp(rwr_beta reward); paper: 0.2"},
    {"algorithm.rwr_percentile", CONFIG_REAL, "90", 0, 100, NULL, YES,
     "rwr_sparse: trains on rewards from this percentile on; paper: 90"},
    {"algorithm.rwr_per_prompt", CONFIG_BOOL, "false", ANY, NULL, YES,
     "rwr, rwr_sparse: weigh against samples of the same prompt, not of the iteration"},
    {"algorithm.nft_beta", CONFIG_REAL, "1", 1e-6, 1, NULL, YES,
     "nft: how far the positive policy lies from the old one; paper: 1, 0.1 for some rewards"},
    {"algorithm.gamma", CONFIG_REAL, "1", 0, 1, NULL, YES,
     "ppo: discount of a step"},
    {"algorithm.lambda", CONFIG_REAL, "0.95", 0, 1, NULL, YES,
     "ppo, control: weight of later steps' differences in an advantage; 1: what followed less "
     "the value, 0: one step"},
    {"algorithm.kl_reward", CONFIG_REAL, "0", 0, 1e9, NULL, YES,
     "ppo: weight of a step's KL to the first policy, subtracted from its reward"},
    {"algorithm.control_alpha", CONFIG_REAL, "0.01", 0, 1e9, NULL, YES,
     "control: weight of the KL of all steps to the first policy, in units of the reward"},
    {"algorithm.pcl_alpha", CONFIG_REAL, "0.01", 1e-12, 1e9, NULL, YES,
     "pcl, trajectory_balance: the same"},

    {"algorithm.reward_target", CONFIG_REAL, "auto", -1e9, 1e9, "auto", YES,
     "draft_k, draft_lv, alignprop: the loss is |reward - target|; auto: -reward"},
    {"algorithm.draft_k", CONFIG_INT, "1", 1, 1e6, NULL, YES,
     "draft_k: gradients go back through so many last steps"},
    {"algorithm.truncation", CONFIG_CHOICE, "gaussian", ANY,
     "gaussian|uniform|fixed|per_step", YES,
     "alignprop: how the first step that keeps its gradient is drawn for each sample; "
     "per_step: each step by itself, step i of N with probability (i + 1)/(N + 1)"},
    {"algorithm.truncation_mean", CONFIG_REAL, "0.84", 0, 1, NULL, YES,
     "gaussian and fixed: that step, as a part of all"},
    {"algorithm.truncation_std", CONFIG_REAL, "0.1", 0, 1, NULL, YES,
     "gaussian: its standard deviation, as a part of all steps"},
    {"algorithm.adjoint_weight", CONFIG_REAL, "1", 0, 1e9, NULL, YES,
     "adjoint_matching: lambda; the target is the first policy times exp(lambda reward)"},
    {"algorithm.adjoint_pairing", CONFIG_CHOICE, "next", ANY, "next|same", YES,
     "adjoint_matching: the adjoint at the end of a step (the discrete optimum), or at its "
     "start as in the published code"},
    {"algorithm.adjoint_steps", CONFIG_CHOICE, "some", ANY, "some|all", YES,
     "adjoint_matching: two of the first 60 % of the steps and two of the others, or all"},

    {"value.kind", CONFIG_CHOICE, "ridge", ANY, "ridge|mlp|none", YES,
     "ppo, control, pcl: value of a state: ridge regression on features of it, its step and "
     "its class; a small network of them; or none: the mean over the prompt's other samples"},
    {"value.linear", CONFIG_INT, "64", 1, 4096, NULL, YES,
     "linear features: the state's elements, or so many random projections if it has more"},
    {"value.features", CONFIG_INT, "32", 0, 4096, NULL, YES,
     "random cosine features of the state"},
    {"value.knots", CONFIG_INT, "4", 1, 64, NULL, YES,
     "ridge: points along the chain between which the coefficients are interpolated"},
    {"value.ridge", CONFIG_REAL, "auto", 1e-12, 1e12, "auto", YES,
     "ridge: penalty of the coefficients, times the number of (sample, step) pairs; auto: the "
     "one with the least error on samples that were left out"},
    {"value.folds", CONFIG_INT, "4", 2, 64, NULL, YES,
     "ridge: parts of an iteration's samples: a sample's value comes from a fit without its "
     "part"},
    {"value.memory", CONFIG_REAL, "0.8", 0, 0.999, NULL, YES,
     "ridge: weight of the previous iterations' data in the fit, per iteration"},
    {"value.hidden", CONFIG_INT, "64", 1, 65536, NULL, YES,
     "mlp: width of its two hidden layers"},
    {"value.epochs", CONFIG_INT, "8", 1, 1000, NULL, YES,
     "mlp: passes over an iteration's samples, an optimizer step per shard"},
    {"value.lr", CONFIG_REAL, "1e-3", 0, 10, NULL, YES,
     "mlp: learning rate of AdamW"},

    {"update.batch", CONFIG_INT, "auto", 1, 1e8, "auto", YES,
     "samples per optimizer step; auto: all of the iteration; paper: 128 of 256"},
    {"update.inner_epochs", CONFIG_INT, "1", 1, 1000, NULL, YES,
     "passes over an iteration's samples; paper: 1"},
    {"update.timestep_fraction", CONFIG_REAL, "1.0", 1e-6, 1, NULL, YES,
     "fraction of the sampler's steps that each sample trains on; paper: 1"},
    {"update.lr", CONFIG_REAL, "3e-4", 0, 10, NULL, YES,
     "learning rate of AdamW; paper: 3e-4 with LoRA, 1e-5 for all weights"},
    {"update.embedding_lr", CONFIG_REAL, "1", 0, 1e6, NULL, YES,
     "learning rate of the embeddings that `sluice graft` added, as a multiple of update.lr; "
     "CTRL: 10 to 50"},
    {"update.beta1", CONFIG_REAL, "0.9", 0, 0.999999, NULL, YES,
     "AdamW: decay of the mean gradient; paper: 0.9"},
    {"update.beta2", CONFIG_REAL, "0.999", 0, 0.99999999, NULL, YES,
     "AdamW: decay of the mean squared gradient; paper: 0.999"},
    {"update.eps", CONFIG_REAL, "1e-8", 0, 1, NULL, YES,
     "AdamW: added to the root of the mean squared gradient; paper: 1e-8"},
    {"update.weight_decay", CONFIG_REAL, "1e-4", 0, 1, NULL, YES,
     "AdamW: weight decay; paper: 1e-4"},
    {"update.max_grad_norm", CONFIG_REAL, "1.0", 0, 1e9, NULL, YES,
     "gradients are scaled down to this norm; 0: never; paper: 1"},
    {"update.optimizer", CONFIG_CHOICE, "adamw", ANY, "adamw|natural", YES,
     "natural: steps along the natural gradient, of the length that update.kl_radius says; "
     "lr, weight_decay and max_grad_norm have no effect; methods on the chain"},
    {"update.kl_radius", CONFIG_REAL, "1e-3", 1e-12, 1e6, NULL, YES,
     "natural: KL between the transitions before and after a step, mean over its pairs, nat"},
    {"update.cg_iterations", CONFIG_INT, "10", 1, 10000, NULL, YES,
     "natural: conjugate-gradient iterations; each costs two passes over the step's pairs"},
    {"update.cg_damping", CONFIG_REAL, "1e-3", 0, 1e9, NULL, YES,
     "natural: added to the Fisher matrix's diagonal, as a part of its mean along the "
     "gradient"},
    {"update.fisher_part", CONFIG_REAL, "1", 1e-6, 1, NULL, YES,
     "natural: part of the step's micro-batches that the Fisher matrix is made from"},
    {"update.ema_decay", CONFIG_REAL, "0", 0, 0.99999999, NULL, YES,
     "running average of the weights, kept beside them; 0: off"},
    {"update.ema_warmup", CONFIG_BOOL, "true", ANY, NULL, YES,
     "a smaller decay during the first steps, so that the start is forgotten"},

    {"groups.rollout", CONFIG_INT, "auto", 1, 100000, "auto", NO,
     "MPI ranks that sample; auto: from the ranks launched and the placement"},
    {"groups.reward", CONFIG_INT, "auto", 1, 100000, "auto", NO,
     "MPI ranks that score"},
    {"groups.advantage", CONFIG_INT, "auto", 1, 100000, "auto", NO,
     "MPI ranks that compute advantages"},
    {"groups.update", CONFIG_INT, "auto", 1, 100000, "auto", NO,
     "MPI ranks that compute gradients"},
    {"groups.placement", CONFIG_CHOICE, "shared", ANY, "shared|split", NO,
     "groups take turns on the same ranks, or own ranks of their own"},
    {"groups.threads", CONFIG_INT, "1", 1, 256, "auto", YES,
     "threads per rank; recorded because kernels may sum in another order; auto: the cores "
     "that a rank may use, shared among the ranks that may use them"},

    {"max_staleness", CONFIG_INT, "0", 0, 100, NULL, YES,
     "policy versions that rollouts may lag behind the update; 0: exactly on-policy"},

    {"pretrain.data", CONFIG_TEXT, "", ANY, NULL, YES,
     "training data file (required by `sluice pretrain`)"},
    {"pretrain.format", CONFIG_CHOICE, "auto", ANY, "auto|cifar|idx|npy|csv|hdf5|text", YES,
     "format of the data file (HDF5 is named FILE.h5:/NAME); text: a csv file's column of strings, one-hot; auto: by name "
     "and content, never text"},
    {"pretrain.labels", CONFIG_TEXT, "", ANY, NULL, YES,
     "class labels: FILE.csv:COLUMN (by the name in its first line, a row per sample) or "
     "FILE.h5:/NAME, several by commas for a joint label y1 * K2 + y2; the label file beside "
     "an idx file; or `last`, the last column of a csv"},
    {"pretrain.column", CONFIG_TEXT, "", ANY, NULL, YES,
     "text: the column, by the name in the first line; empty: the first column of a file "
     "without such a line"},
    {"pretrain.alphabet", CONFIG_TEXT, "", ANY, NULL, YES,
     "text: its characters, in the order of the channels; a blank fills shorter texts up; "
     "empty: those of the network's config, or else those that occur"},
    {"pretrain.length", CONFIG_INT, "0", 0, 1e6, NULL, YES,
     "text: characters per sample; 0: the longest text's"},
    {"pretrain.normalize", CONFIG_CHOICE, "none", ANY, "none|standard|log", YES,
     "numbers: to mean 0 and variance 1, over all of them; log: their logarithms; mean and "
     "deviation go into the network's config, and a network that has them keeps its own"},
    {"pretrain.rows", CONFIG_INT, "0", 0, 1e12, NULL, YES,
     "train on the first so many samples of the file; 0: all"},
    {"pretrain.label_dropout", CONFIG_REAL, "0", 0, 1, NULL, YES,
     "fraction of labels replaced by \"no class\", for guidance; the network needs "
     "null_class; Ho & Salimans 2022: 0.1 to 0.2"},
    {"pretrain.keep_classes", CONFIG_INT_LIST, "[]", 0, 1e6, NULL, YES,
     "class labels to train on; empty: all"},
    {"pretrain.network", CONFIG_TEXT, "", ANY, NULL, YES,
     "config.json of the network to create"},
    {"pretrain.scheduler", CONFIG_TEXT, "", ANY, NULL, YES,
     "scheduler_config.json of the noise schedule; empty: diffusers' defaults"},
    {"pretrain.output", CONFIG_TEXT, "", ANY, NULL, NO,
     "model folder written (required by `sluice pretrain`)"},
    {"pretrain.steps", CONFIG_INT, "1000", COUNT, NULL, YES,
     "optimizer steps"},
    {"pretrain.batch", CONFIG_INT, "64", 1, 1e6, NULL, YES,
     "samples per optimizer step"},
    {"pretrain.lr", CONFIG_REAL, "2e-4", 0, 10, NULL, YES,
     "learning rate of AdamW after the warm-up; Ho et al. 2020: 2e-4"},
    {"pretrain.warmup", CONFIG_INT, "100", 0, 1e9, NULL, YES,
     "steps over which the learning rate rises from 0"},
    {"pretrain.weight_decay", CONFIG_REAL, "0", 0, 1, NULL, YES,
     "AdamW: weight decay"},
    {"pretrain.max_grad_norm", CONFIG_REAL, "1", 0, 1e9, NULL, YES,
     "gradients are scaled down to this norm; 0: never"},
    {"pretrain.ema_decay", CONFIG_REAL, "0.995", 0, 0.99999999, NULL, YES,
     "running average of the weights, which is what is exported; 0: off; Ho et al.: 0.9999"},
    {"pretrain.flip", CONFIG_BOOL, "true", ANY, NULL, YES,
     "mirror pictures left to right at random; series and text need false"},
    {"pretrain.log_every", CONFIG_INT, "50", COUNT, NULL, NO,
     "steps between log lines"},
    {"pretrain.save_every", CONFIG_INT, "500", COUNT, NULL, NO,
     "steps between checkpoints"},

    {"classifier.output", CONFIG_TEXT, "", ANY, NULL, NO,
     "folder written (required by `sluice classifier`)"},
    {"classifier.data", CONFIG_TEXT, "", ANY, NULL, YES,
     "offline data file (required by `sluice classifier`)"},
    {"classifier.format", CONFIG_CHOICE, "auto", ANY, "auto|cifar|idx|npy|csv|hdf5|text", YES,
     "as pretrain.format"},
    {"classifier.labels", CONFIG_TEXT, "", ANY, NULL, YES,
     "as pretrain.labels; several labels become several heads"},
    {"classifier.column", CONFIG_TEXT, "", ANY, NULL, YES,
     "as pretrain.column"},
    {"classifier.alphabet", CONFIG_TEXT, "", ANY, NULL, YES,
     "as pretrain.alphabet; with model.path the model's coding of its data is taken"},
    {"classifier.length", CONFIG_INT, "0", 0, 1e6, NULL, YES,
     "as pretrain.length"},
    {"classifier.normalize", CONFIG_CHOICE, "none", ANY, "none|standard|log", YES,
     "as pretrain.normalize; with model.path the model's coding of its data is taken"},
    {"classifier.rows", CONFIG_INT, "0", 0, 1e12, NULL, YES,
     "take the first so many samples of the file; 0: all"},
    {"classifier.keep_classes", CONFIG_INT_LIST, "[]", 0, 1e6, NULL, YES,
     "joint labels to take; empty: all"},
    {"classifier.corrupt", CONFIG_BOOL, "false", ANY, NULL, YES,
     "train a corruption detector instead: labels 0, a sample as it is, and 1, a copy that is "
     "noised, blurred, partly erased or coarsely quantised (series: noise or spikes)"},
    {"classifier.network", CONFIG_CHOICE, "auto", ANY, "auto|mlp|conv", YES,
     "mlp: vectors, series, text; conv: pictures; auto: conv from 8 x 8 pixels on"},
    {"classifier.hidden", CONFIG_INT, "auto", 1, 16384, "auto", YES,
     "numbers in a layer of mlp (auto: 128), channels of conv's first level (auto: 16)"},
    {"classifier.layers", CONFIG_INT, "auto", 1, 32, "auto", YES,
     "residual layers of mlp (auto: 2), levels of conv (auto: 3)"},
    {"classifier.held_out", CONFIG_REAL, "0.2", 1e-6, 0.9, NULL, YES,
     "fraction of the samples that no step sees: they choose the weights, calibrate the "
     "temperature, and give the figures printed"},
    {"classifier.steps", CONFIG_INT, "1000", COUNT, NULL, YES,
     "optimizer steps"},
    {"classifier.batch", CONFIG_INT, "64", 1, 1e6, NULL, YES,
     "samples per optimizer step"},
    {"classifier.lr", CONFIG_REAL, "1e-3", 0, 10, NULL, YES,
     "learning rate of AdamW, falling to 0 along a cosine"},
    {"classifier.weight_decay", CONFIG_REAL, "1e-2", 0, 1, NULL, YES,
     "AdamW: weight decay"},
    {"classifier.noise", CONFIG_REAL, "0", 0, 100, NULL, YES,
     "standard deviation of Gaussian noise added to training samples, so that samples between "
     "those of the data (text that is not quite one-hot) are judged sensibly"},
    {"classifier.evaluate_every", CONFIG_INT, "100", COUNT, NULL, YES,
     "steps between looks at the held-out samples; the weights with the smallest loss there "
     "are kept"},
    {.key = NULL},
};
/* clang-format on */

struct config *schema_load(int argc, char **argv)
{
    struct config *c = config_create(schema);
    for (int i = 0; i < argc; i++) {
        int rc;
        if (argv[i][0] == '-')
            rc = err_set(ERR_USAGE, "unknown option '%.100s'; --help lists them", argv[i]);
        else if (i == 0 && (strchr(argv[i], '=') == NULL || file_exists(argv[i])))
            rc = config_read(c, argv[i]);
        else
            rc = config_override(c, argv[i]);
        if (rc != 0) {
            config_destroy(c);
            return NULL;
        }
    }
    return c;
}
