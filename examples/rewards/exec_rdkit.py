#!/usr/bin/env python3
"""A reward for reward.name=exec: QED, logP or SA of molecules given as SMILES strings.

sluice run CONFIG reward.name=exec exec.command='python3 examples/rewards/exec_rdkit.py QED'
"""
import json, os, sys

try:
    from rdkit import Chem, RDConfig, RDLogger
    from rdkit.Chem import QED, Crippen
    sys.path.append(os.path.join(RDConfig.RDContribDir, "SA_Score"))
    import sascorer
except ImportError as e:
    sys.exit(f"exec_rdkit.py needs RDKit ({e}): pip install rdkit")
scores = {"QED": QED.qed, "logP": Crippen.MolLogP, "SA": lambda m: -sascorer.calculateScore(m)}
RDLogger.DisableLog("rdApp.*")  # what is no molecule is a status, not a message
score = scores[sys.argv[1]]  # bigger is better: easy synthesis is a small SA
print("sluice-exec 1 json rdkit", sys.argv[1], flush=True)
for line in sys.stdin:
    request = json.loads(line)
    molecules = [Chem.MolFromSmiles(s) if s else None for s in request["samples"]]
    print(json.dumps({"id": request["id"],
                      "scores": [score(m) if m else None for m in molecules],
                      "status": ["ok" if m else "infeasible" for m in molecules]}), flush=True)
