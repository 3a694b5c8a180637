# Every verb of a site. `make` alone lists them. STACK chooses the site (default: local).
SHELL := /bin/bash
.DEFAULT_GOAL := help

STACK ?= local
export BARETICK_STACK := $(STACK)
export BARETICK_CAPTURES ?= $(realpath $(CURDIR)/../shared/data/market)
PY := .venv/bin/python
VERBS := $(PY) -m infra.verbs

.PHONY: help setup start up down stop clean status restart migrate seed replay credentials demo \
        test test-site test-unit lint format verify logs emulator molecule

help: ## list every verb
	@awk -F':.*## ' '/^[a-z%<>-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  STACK=name chooses the site (default local); SPEED=x the speed of a replay; FOLLOW=1 follows the logs."

.venv/.ready: requirements.lock app/pyproject.toml infra/bootstrap.sh .python-version
	@infra/bootstrap.sh python

up: ## provision, tune, install, deploy and trade: the whole site (aliases: setup, start)
	@infra/bootstrap.sh all
	@$(VERBS) up
setup start: up

down: .venv/.ready ## stop the site; disks and state stay for the next `make up` (alias: stop)
	@$(VERBS) down
stop: down

clean: .venv/.ready ## destroy the site and its disks; the artefact cache outside the clone stays
	@$(VERBS) clean

status: .venv/.ready ## table of hosts, services, versions, URLs, rows, rates, engine latency
	@$(VERBS) status

restart: .venv/.ready ## restart every service of the site, in order of dependence
	@$(VERBS) restart

migrate: .venv/.ready ## apply the pending warehouse migrations
	@$(VERBS) migrate

seed: .venv/.ready ## load reference data (instruments) into the warehouse
	@$(VERBS) seed

replay: .venv/.ready ## play the venue stand-in's session once more (SPEED=10; 0 is as fast as possible)
	@$(VERBS) replay --speed $(or $(SPEED),10)

credentials: .venv/.ready ## show the generated users and passwords of the site
	@$(VERBS) credentials

demo: .venv/.ready ## the whole pipeline in one process, no root, no hosts: table and plot in about a minute
	@.venv/bin/baretick demo

verify: .venv/.ready ## prove it: testinfra over every host, and reconciliation of the session served
	@$(VERBS) verify

logs: .venv/.ready ## the last log lines of every service
	@$(VERBS) logs

logs-%: .venv/.ready ## the log of one service: logs-kafka, logs-engine, ... (FOLLOW=1 follows)
	@$(VERBS) logs $* $(if $(FOLLOW),--follow)

emulator: .venv/.ready ## Hetzner in a box: cloud API on HCLOUD_PORT (8901), Robot on ROBOT_PORT (8902); MACHINES=none|nspawn
	@$(VERBS) emulator

lint: .venv/.ready ## ruff, strict types, ansible-lint (production profile), yamllint, shell
	@infra/lint.sh

test-unit: .venv/.ready ## the tests that need neither root nor hosts
	@.venv/bin/pytest tests/unit

molecule: ## molecule test: the roles on fresh hosts, converge, idempotence, verify
	@infra/bootstrap.sh all
	@PATH="$(CURDIR)/.venv/bin:$$PATH" molecule test

test: ## everything: lint, unit, integration, molecule, the whole site end to end with kills in mid-stream
	@infra/bootstrap.sh all
	@$(VERBS) test

test-site: ## molecule, and the whole site end to end: up, verify, kills in mid-stream, down
	@infra/bootstrap.sh all
	@$(VERBS) test-site
