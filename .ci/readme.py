#!/usr/bin/python3
"""Runs every block of commands in README.md, as a reader would. A block that begins with git clone is run in the folder of a
module that is made for it, the others in the repository. A command that a step of .ci/run runs anyway is left to that."""

import os
import re
import subprocess
import sys
import tempfile

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LEFT = {"go test ./...": "step test"}
# What makes a command shorter than a reader wants it.
SHORTER = {"./cmd/compare": " -quick -rounds 1 -out {folder}/results.jsonl", "tickwire feed": " -duration 2s"}
PROGRAM = 'package main\n\nimport "github.com/seed-7f57ff33/tickwire/conn"\n\nfunc main() { println(conn.ErrClosed.Error()) }\n'
ON_GORILLA = 'package main\n\nimport "github.com/gorilla/websocket"\n\nfunc main() { println(websocket.ErrCloseSent.Error()) }\n'


def run(block, folder):
    print(f"$ {block}", flush=True)
    subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=folder, check=True)


def as_user_of_a_checkout(block):
    with tempfile.TemporaryDirectory() as folder:
        module = f"{folder}/app"
        os.mkdir(module)
        with open(f"{module}/main.go", "w") as f:
            f.write(PROGRAM)
        run("go mod init example.com/app", module)
        run(block.replace("<this repository>", root), module)
        run("go run .", module)


def as_user_of_gorilla(block):
    with tempfile.TemporaryDirectory() as folder:
        module = f"{folder}/app"
        os.mkdir(module)
        os.symlink(root, f"{folder}/tickwire")
        with open(f"{module}/main.go", "w") as f:
            f.write(ON_GORILLA)
        run("go mod init example.com/app", module)
        run(block, module)
        run("go run .", module)


def main():
    with open(f"{root}/README.md") as f:
        blocks = re.findall(r"^```(\w*)\n(.*?)\n```$", f.read(), re.M | re.S)
    commands = [text for language, text in blocks if language == "sh"]
    if unknown := {language for language, _ in blocks} - {"sh", "go"}:
        sys.exit(f"README.md has blocks that nothing runs: {unknown}")
    for block in commands:
        if block in LEFT:
            print(f"$ {block}\nis run by {LEFT[block]}")
        elif block.startswith("git clone "):
            as_user_of_a_checkout(block)
        elif block.startswith("go mod edit -replace github.com/gorilla/"):
            as_user_of_gorilla(block)
        else:
            with tempfile.TemporaryDirectory() as folder:
                flags = [flag.format(folder=folder) for name, flag in SHORTER.items() if name in block]
                run(block + "".join(flags), root)
    print(f"readme: {len(commands)} blocks of commands")


if __name__ == "__main__":
    main()
