"""Reads what `sluice export` wrote with the programs that it was written for. TAP lines; a
part whose packages are absent is skipped.
Usage: export_peers.py SLUICE WORK; WORK holds, of the last test, ddim, ddpm (a run and the
export of its policy 0 each), samples.safetensors, board and ddim/run with its crate."""
import glob
import json
import math
import subprocess
import sys

import numpy as np

sluice, work = sys.argv[1:3]
crate_context = "https://w3id.org/ro/crate/1.1/context"  # the validator loads it
count = failed = 0


def ok(good, name):
    global count, failed
    count += 1
    failed += not good
    print(f"{'' if good else 'not '}ok {count} - {name}", flush=True)


def skip(name, why):
    global count
    count += 1
    print(f"ok {count} - {name} # SKIP {why}")


def rows(run, kind, column):
    import h5py
    out = []
    for path in sorted(glob.glob(f"{run}/{kind}/i000000/s*.h5")):
        with h5py.File(path) as f:
            out.append(f[column][:])
    return out


def compare_networks(kind, pipe):
    """Output, loss and gradients of one evaluation, against float64 by diffusers."""
    import torch
    from safetensors.torch import load_file, save_file
    torch.manual_seed(1)
    net, name = pipe.unet.double(), f"{work}/{kind}"
    size = net.config.sample_size
    shape = (3, net.config.in_channels, size, size)
    x, target, t = torch.randn(shape), torch.randn(shape), torch.tensor([0, 371, 999])
    save_file({"x": x, "target": target, "timesteps": t}, f"{name}/in.safetensors")
    subprocess.run([sluice, "forward", f"{name}/model", "--in", f"{name}/in.safetensors",
                    "--out", f"{name}/out.safetensors"], check=True)
    got = load_file(f"{name}/out.safetensors")
    y = x.double().requires_grad_(True)
    out = net(y, t).sample
    loss = ((out - target.double()) ** 2).mean()
    loss.backward()
    want = {"output": out.detach(), "loss": loss.detach(), "grad.x": y.grad}
    want |= {f"grad.{k}": p.grad for k, p in net.named_parameters()}
    far = max(float((got[k].double().reshape(v.shape) - v).norm() / v.norm()) for k, v in
              want.items() if k != "loss" and float(v.norm()) > 1e-6)
    ok(set(got) == set(want) and far < 1e-5 and abs(got["loss"].item() / loss.item() - 1) < 1e-6,
       f"{kind}: output, loss and {len(want) - 2} gradients within {far:.1e} (limit 1e-5)")


def step(scheduler, eps, t, x, more):
    """Mean and standard deviation of a transition, from two draws whose noise is known."""
    import torch
    draw, noise = [], []
    for seed in (1, 2):
        g = torch.Generator().manual_seed(seed)
        draw.append(scheduler.step(eps, t, x, generator=g, **more).prev_sample)
        g.manual_seed(seed)
        noise.append(torch.randn(x.shape, generator=g, dtype=x.dtype))
    apart = noise[0] - noise[1]
    sigma = float(((draw[0] - draw[1]) * apart).sum() / (apart ** 2).sum())
    return draw[0] - sigma * noise[0], sigma


def compare_chains(kind, pipe):
    """The stored chains of policy 0: schedule, transitions and log-probabilities."""
    import torch
    run, more = f"{work}/{kind}/run", {"eta": 1.0} if kind == "ddim" else {}
    timesteps, mask = rows(run, "rollout", "t")[0], rows(run, "rollout", "mask")[0]
    sigmas = rows(run, "rollout", "sigma")[0]
    states = torch.from_numpy(np.concatenate(rows(run, "rollout", "latents"))).double()
    stored = np.concatenate(rows(run, "rollout", "log_prob"))
    pipe.scheduler.set_timesteps(len(timesteps))
    ok(pipe.scheduler.timesteps.tolist() == timesteps.tolist(), f"{kind}: the same timesteps")
    far = {"sigma": 0.0, "log_prob": 0.0, "last": 0.0}
    for k, t in enumerate(pipe.scheduler.timesteps):
        x, after = states[:, k], states[:, k + 1]
        with torch.no_grad():
            mean, sigma = step(pipe.scheduler, pipe.unet(x, t).sample, t, x, more)
        if not mask[k]:
            far["last"] = max(far["last"], float((mean - after).abs().max()))
            continue
        far["sigma"] = max(far["sigma"], abs(sigmas[k] / sigma - 1))
        density = -((after - mean) / sigma) ** 2 / 2 - math.log(sigma * math.sqrt(2 * math.pi))
        want = density.flatten(1).sum(1).numpy()
        far["log_prob"] = max(far["log_prob"], np.abs(stored[:, k] - want).max())
    text = ", ".join(f"{k} {v:.1e}" for k, v in far.items())
    ok(mask.sum() == len(mask) - 1 and far["sigma"] < 1e-5 and far["log_prob"] < 2e-3 and
       far["last"] < 1e-4, f"{kind}: transitions of {len(states)} stored chains: {text} "
       "(limits 1e-5, 2e-3 nat, 1e-4)")


def draw(kind, pipe):
    import torch
    pipe.unet.float()
    pipe.set_progress_bar_config(disable=True)
    image = [pipe(batch_size=3, num_inference_steps=5, output_type="np",
                  generator=torch.Generator().manual_seed(s)).images for s in (1, 1, 2)]
    size = pipe.unet.config.sample_size
    ok(image[0].shape == (3, size, size, 3) and np.isfinite(image[0]).all() and
       (image[0] == image[1]).all() and (image[0] != image[2]).any() and image[0].std() > 0.05,
       f"{kind}: {type(pipe).__name__} draws pictures")


def check_diffusers():
    try:
        import diffusers, h5py, safetensors, torch  # noqa: F401, E401
    except ImportError as e:
        return skip("diffusers loads the export", e)
    for kind, name in (("ddim", "DDIMPipeline"), ("ddpm", "DDPMPipeline")):
        pipe = getattr(diffusers, name).from_pretrained(f"{work}/{kind}/model")
        scheduler = type(pipe.scheduler).__name__
        ok(scheduler.lower().startswith(kind), f"{kind}: {name} of diffusers "
           f"{diffusers.__version__} loads the folder, with {scheduler}")
        compare_networks(kind, pipe)
        compare_chains(kind, pipe)
        draw(kind, pipe)


def check_safetensors():
    try:
        import h5py  # noqa: F401
        from safetensors.numpy import load_file
    except ImportError as e:
        return skip("safetensors reads the export", e)
    want = np.concatenate(rows(f"{work}/ddim/run", "rollout", "final_sample"))
    got = load_file(f"{work}/samples.safetensors")
    ok(any(v.shape == want.shape and (v == want).all() for v in got.values()),
       f"safetensors reads the samples: {' '.join(got)} {want.shape}")
    with h5py.File(f"{work}/ddim/run/policy/v000000.h5") as f:
        flat = f["weights"][:]
    net = load_file(f"{work}/ddim/model/unet/diffusion_pytorch_model.safetensors")
    total = sum(v.size for v in net.values())
    ok(total == flat.size and np.sort(np.concatenate([v.ravel() for v in net.values()])).tobytes()
       == np.sort(flat).tobytes(), f"and the {total} weights of the policy, in {len(net)} tensors")


def check_tensorboard():
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as e:
        return skip("TensorBoard reads the event file", e)
    board = EventAccumulator(f"{work}/board")
    board.Reload()
    got = {tag: {e.step: e.value for e in board.Scalars(tag)} for tag in board.Tags()["scalars"]}
    lines = [json.loads(x) for x in open(f"{work}/ddim/run/metrics.jsonl")]
    want = {r["iteration"]: r["reward_mean"] for r in lines if "iteration" in r}
    ok(got["reward_mean"] == {k: float(np.float32(v)) for k, v in want.items()} and
       got["rank_time/rollout/network_s"].keys() == want.keys(),
       f"TensorBoard reads {len(got)} curves of {len(want)} iterations")


def check_crate():
    run = f"{work}/ddim/run"
    try:
        from rocrate.rocrate import ROCrate
    except ImportError as e:
        skip("rocrate reads the crate", e)
    else:
        crate = ROCrate(run)
        actions = crate.get_by_type("CreateAction")
        ok(len(actions) == 1 and actions[0]["instrument"].type == "SoftwareApplication" and
           {f.id for f in crate.get_by_type("File")} >= {"metrics.jsonl", "config.yaml"},
           f"rocrate reads the crate: {len(crate.get_entities())} entities")
    try:
        from rocrate_validator import models, services
        import requests
        requests.get(crate_context, timeout=20)
    except (ImportError, OSError) as e:
        return skip("rocrate-validator accepts the crate", str(e).split("(Caused")[0])
    result = services.validate(services.ValidationSettings(
        rocrate_uri=run, profile_identifier="process-run-crate-0.5",
        requirement_severity=models.Severity.REQUIRED))
    ok(result.passed(), "rocrate-validator accepts it as a Process Run Crate 0.5")
    for issue in result.get_issues():
        print(f"# {issue.severity.name} {issue.message}", file=sys.stderr)


check_diffusers()
check_safetensors()
check_tensorboard()
check_crate()
print(f"1..{count}")
sys.exit(failed != 0)
