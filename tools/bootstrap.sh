#!/bin/bash
# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
#
# For the programs beside this file that must run on a bare machine: installs
# what no virtual environment can be made without. Whoever reads this in has a
# function "fail" that says its arguments and exits.

function has_packages {
    command -v git && python3 -c 'import ensurepip, venv'
} > /dev/null 2>&1

function install_packages {
    local packages="git python3 python3-venv" sudo=""
    command -v apt-get > /dev/null ||
        fail "needs $packages; install them, then try again"
    if [ "$(id -u)" -ne 0 ]; then
        sudo="sudo -n"
        $sudo true 2> /dev/null || fail "packages are missing; run:" \
            "sudo apt-get install $packages"
    fi
    echo "installing $packages" >&2
    $sudo apt-get update -qq > /dev/null
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends $packages > /dev/null ||
        fail "apt-get failed; run: apt-get install $packages"
}

has_packages || install_packages
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "needs Python 3.11 or later; $(python3 --version) is here"
