# The verbs of ksweep. Each recipe is one line that calls a script; `make help` is read from the ## comments below.

MAKEFLAGS += -rR --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:  # a sweep runs in parallel by itself; `make -j defconfig-x sweep` must not start both at once

O      ?= .
PYTHON ?= python3
VENV   ?= .venv

# What a user gave is taken as plain text: make must not expand a $ in it, and `quote` keeps the shell from reading it.
USER_VARIABLES := RANGE_CONFIG STRATEGY TRIALS STRATEGIES SEEDS BUDGET PARALLEL EPOCHS RESULTS CONFIG SYMBOL SYMBOLS A B TO OUT METRICS \
                  TRACKER PORT DEFCONFIG MERGE DATA_DIR TESTS O PYTHON VENV \
                  NAME VAL TEST TUNING SEED RUN THRESHOLDS LAMBDAS SCORE DATA BATCH_SIZE D_MODEL LAYERS LENGTH EXPERTS LR \
                  KCONFIG_CONFIG KCONFIG_SEED KCONFIG_PROBABILITY KCONFIG_ALLCONFIG
$(foreach v,$(USER_VARIABLES),$(if $(filter undefined,$(origin $v)),,$(eval override $v := $$(value $v))))
$(foreach v,KCONFIG_SEED KCONFIG_PROBABILITY KCONFIG_ALLCONFIG,$(if $(filter undefined,$(origin $v)),,$(eval export $v)))
define newline


endef
quote  = '$(subst $(newline), ,$(subst ','\'',$1))'
yes    = $(filter 1 y yes,$($1))
option = $(if $($2),$1 $(call quote,$($2)))
several = $(if $($2),$1 $(foreach v,$($2),$(call quote,$v)))

out       := $(if $(filter-out .,$(O)),$(O)/)
config    := $(or $(KCONFIG_CONFIG),$(out).config)
results   := $(or $(RESULTS),$(out)test_matrix_results)
presets   := $(filter-out README.md,$(notdir $(wildcard defconfigs/*)))
Q         := $(if $(call yes,V),,@)
python    := $(call quote,$(if $(VENV),$(VENV)/bin/python,$(PYTHON)))
ksweep    := $(Q)$(python) scripts/ksweep.py
kconf     := $(ksweep) kconf --config $(call quote,$(config))

range_flag    := $(call option,--range,RANGE_CONFIG)
results_flag  := --results $(call quote,$(results))
configs_dir   := $(call quote,$(out)sweep_configs)
epochs_flag   := $(call option,--epochs,EPOCHS)
search_flags  := $(call option,--strategy,STRATEGY) $(call option,--trials,TRIALS)
compare_flags := $(call option,--strategies,STRATEGIES) $(call option,--seeds,SEEDS) $(call option,--budget,BUDGET)
act_flags     := $(call several,--thresholds,THRESHOLDS) $(call several,--lambdas,LAMBDAS) $(call option,--score-metric,SCORE) \
                 $(call option,--dataset,DATA) $(call option,--data-path,DATA_DIR) $(call option,--batch-size,BATCH_SIZE) \
                 $(call option,--d-model,D_MODEL) $(call option,--n-layers,LAYERS) $(call option,--n-seq,LENGTH) \
                 $(call option,--num-experts,EXPERTS) $(call option,--lr,LR) $(call option,--seeds,SEEDS)
split_flags   := --data-dir $(call quote,$(or $(DATA_DIR),data)) $(call option,--val,VAL) $(call option,--test,TEST) \
                 $(call option,--tuning,TUNING) $(call option,--seed,SEED)
jobs_flag     := $(call option,--jobs,PARALLEL)
dry_flag      := $(if $(call yes,DRY_RUN),--dry-run)
yes_flag      := $(if $(call yes,YES),--yes) $(dry_flag)
fresh_flag    := $(if $(call yes,FRESH),--fresh)

unexport PYTHONDONTWRITEBYTECODE  # without .pyc files every start of torch costs 3 s more

## Sweep
.PHONY: sweep sweep-parallel sweep-generate sweep-run sweep-estimate sweep-status sweep-watch sweep-monitor
.PHONY: sweep-leaderboard sweep-analyze sweep-continue sweep-refine sweep-transfer sweep-compare sweep-track report-serve
.PHONY: sweep-compare-strategies sweep-clean tune-act
sweep: venv             ## expand RANGE_CONFIG, run what has not finished, print the ranking
	$(ksweep) sweep $(range_flag) $(search_flags) --out $(configs_dir) $(results_flag) $(epochs_flag) $(jobs_flag) $(yes_flag) $(fresh_flag)
sweep-parallel: sweep   ## the same; PARALLEL=4 sets the runs at a time
sweep-generate: venv    ## only expand RANGE_CONFIG, into O/sweep_configs
	$(ksweep) generate $(range_flag) $(search_flags) --out $(configs_dir) $(results_flag) $(epochs_flag) $(jobs_flag) $(yes_flag)
sweep-run: venv         ## only run what sweep-generate wrote
	$(ksweep) run --config-dir $(configs_dir) --output-dir $(call quote,$(results)) $(jobs_flag) $(yes_flag) $(fresh_flag)
sweep-estimate estimate: venv ## how long a sweep takes, or what is left of one
	$(ksweep) estimate $(results_flag) $(range_flag) $(search_flags) $(epochs_flag) $(jobs_flag)
sweep-status: venv      ## state of the latest sweep, in one screen
	$(ksweep) status $(results_flag)
sweep-watch sweep-monitor: venv ## state of the latest sweep, live
	$(ksweep) watch $(results_flag)
sweep-leaderboard: venv ## the best configurations so far
	$(ksweep) leaderboard $(results_flag)
sweep-analyze: venv     ## rank, write and draw the results again: report.html, plots/
	$(ksweep) analyze $(results_flag)
report-serve: venv      ## show the report in a browser, live while the sweep runs
	$(ksweep) report-serve $(results_flag) $(call option,--port,PORT)
sweep-continue continue: venv ## continue the latest sweep
	$(ksweep) continue $(results_flag) $(jobs_flag) $(dry_flag)
sweep-refine: venv      ## write a range file around the best region of a sweep
	$(ksweep) refine $(results_flag) $(call option,--out,OUT)
sweep-transfer: venv    ## the best values of a sweep, put into preset TO; SYMBOLS="LEARNING_RATE ..." for some
	$(ksweep) transfer $(results_flag) --to $(call quote,$(or $(TO),$(error make sweep-transfer: into which preset? TO=resnet18-adamw))) $(call option,--symbols,SYMBOLS) $(call option,--out,OUT)
sweep-compare: venv     ## sweep B against sweep A, point by point; fails where it got worse beyond noise
	$(ksweep) compare $(call quote,$(or $(A),$(error make sweep-compare: which two? A=old sweep B=new sweep))) $(call quote,$(or $(B),$(error make sweep-compare: which two? A=old sweep B=new sweep))) $(call option,--metrics,METRICS)
sweep-track: venv       ## hand a sweep to a tracker; TRACKER=tensorboard, mlflow, wandb, trackio
	$(ksweep) track $(results_flag) --tracker $(call quote,$(or $(TRACKER),$(error make sweep-track: to which one? TRACKER=tensorboard)))
sweep-compare-strategies: venv ## strategies on one range file with equal epochs, drawn; STRATEGIES= SEEDS= BUDGET=
	$(ksweep) compare-strategies $(results_flag) $(range_flag) $(compare_flags) $(jobs_flag) $(fresh_flag)
tune-act: venv          ## threshold and lambda of ACT (transformer): THRESHOLDS= LAMBDAS= SCORE= EPOCHS= SEEDS= and sizes
	$(ksweep) tune-act --output-dir $(call quote,$(results)/act_tuning) $(act_flags) $(epochs_flag) $(jobs_flag)
sweep-clean:            ## remove O/sweep_configs
	$(Q)scripts/clean.sh configs $(call quote,$(out))

## Runs
.PHONY: train best final rerun rerun-failed estimate continue summary check why diff gallery
train: venv             ## train CONFIG (.config)
	$(ksweep) train --config $(call quote,$(or $(CONFIG),$(config))) $(results_flag) $(epochs_flag) $(dry_flag)
best: venv              ## write the best configuration of a sweep, ready to train, with the evidence for it
	$(ksweep) best $(results_flag) $(call option,--out,OUT)
final: venv             ## train the best on train + validation, SEEDS=5 times, and test once
	$(ksweep) final $(results_flag) $(call option,--seeds,SEEDS) $(epochs_flag) $(jobs_flag) $(dry_flag)
rerun: venv             ## run CONFIG=path/to/config_007 again, alone, and compare
	$(ksweep) rerun $(call quote,$(or $(CONFIG),$(error make rerun: which one? CONFIG=path/to/config_007))) $(results_flag) $(dry_flag)
rerun-failed: venv      ## run the failed runs of the latest sweep again
	$(ksweep) rerun-failed $(results_flag) $(jobs_flag) $(dry_flag)
summary: venv           ## print the analysis of the latest sweep
	$(ksweep) summary $(results_flag)
check: venv             ## check RANGE_CONFIG or CONFIG; starts nothing
	$(ksweep) check $(range_flag) $(search_flags) $(epochs_flag) $(call option,--config,CONFIG) --dot-config $(call quote,$(config))
why: venv               ## where the values of CONFIG (.config) come from; SYMBOL=X for one
	$(ksweep) why $(call quote,$(or $(CONFIG),$(config))) $(call option,--symbol,SYMBOL) $(results_flag)
gallery: venv           ## draw what the heads of RUN=path/to/run/directory find: retrieval_gallery.png, embedding_pca.png
	$(Q)PYTHONPATH=lib:. $(python) -m models.heads.gallery $(call quote,$(or $(RUN),$(error make gallery: of which run? RUN=path/to/run/directory)))
diff: venv              ## what differs between A and B: config files or run directories
	$(ksweep) diff $(call quote,$(or $(A),$(error make diff: which two? A=path B=path))) $(call quote,$(or $(B),$(error make diff: which two? A=path B=path))) $(results_flag)

## Data
.PHONY: data-mnist data-fashion-mnist data-cifar10 data-cifar100 data-moby-dick data-bible data-text data-emoji data-split
data-mnist data-fashion-mnist data-cifar10 data-cifar100 data-moby-dick data-bible data-emoji: venv ## fetch a data set into DATA_DIR
	$(ksweep) data $(@:data-%=%) --data-dir $(call quote,$(or $(DATA_DIR),data))

data-text: data-moby-dick data-bible ## fetch both texts into DATA_DIR
data-split: venv        ## split the embeddings NAME by image: NAME_train, NAME_val, NAME_test, NAME_tuning; VAL= TEST= TUNING= SEED=
	$(ksweep) data-split $(call quote,$(or $(NAME),$(error make data-split: which? NAME=coco for DATA_DIR/coco_image_embeddings.pt))) $(split_flags)

## Configuration
.PHONY: menuconfig nconfig guiconfig xconfig gconfig config oldconfig olddefconfig defconfig savedefconfig
.PHONY: listnewconfig list-defconfigs allyesconfig allnoconfig alldefconfig randconfig mergeconfig
menuconfig nconfig: venv ## edit .config in the terminal
	$(kconf) menuconfig
guiconfig xconfig gconfig: venv ## edit .config in a window
	$(kconf) guiconfig
config: venv            ## edit .config question by question
	$(kconf) config
oldconfig: venv         ## the same, asking only about new symbols
	$(kconf) oldconfig
olddefconfig: venv      ## bring .config up to date, new symbols at their defaults
	$(kconf) olddefconfig
defconfig: venv         ## .config from DEFCONFIG=name, or from all defaults
	$(kconf) defconfig $(call option,--defconfig,DEFCONFIG)
defconfig-%: venv       ## .config from a preset; a+b lays b over a
	$(kconf) defconfig --defconfig $(call quote,$*)
%_defconfig: venv       ## the same, the kernel's spelling
	$(kconf) defconfig --defconfig $(call quote,$*)
$(addprefix defconfig-,$(presets)):  # named so that a shell can complete them
list-defconfigs: venv   ## the presets and range files, a line each
	$(kconf) list-defconfigs
savedefconfig: venv     ## write O/defconfig: only what differs from the defaults
	$(kconf) savedefconfig $(call quote,$(out)defconfig)
mergeconfig: venv       ## lay MERGE="file file ..." over .config, in order
	$(kconf) mergeconfig $(or $(foreach f,$(MERGE),$(call quote,$f)),$(error make mergeconfig: which files? MERGE="file file ..."))
listnewconfig: venv     ## the symbols that .config does not set
	$(kconf) listnewconfig
alldefconfig: venv      ## .config with every symbol at its default
	$(kconf) alldefconfig
allyesconfig: venv      ## .config with every question answered y
	$(kconf) allyesconfig
allnoconfig: venv       ## .config with every question answered n
	$(kconf) allnoconfig
randconfig: venv        ## .config drawn at random from all that is legal
	$(kconf) randconfig

## Tree
.PHONY: help venv test test-trackers lint pictures bench-analysis bench-launch bench-expand bench-step bench-optim bench-transformer bench-low-rank bench-sketched bench-search bench-hpo bench-asha clean mrproper
help:                   ## this list
	@awk -f scripts/help.awk Makefile
venv:                   ## make VENV, or bring it up to requirements.txt (all others do so themselves)
	@scripts/setup.sh $(call quote,$(PYTHON)) $(call quote,$(VENV))
test: export OMP_NUM_THREADS := 1
test: venv              ## run the tests; TESTS="-k name" for some, "-m slow" for the long ones
	$(Q)$(python) -m pytest -n 2 --dist worksteal $(TESTS)
test-trackers: export OMP_NUM_THREADS := 1
test-trackers:          ## run the tests of mlflow, wandb, trackio, tensorboard, in an environment of their own (.venv-trackers)
	@scripts/setup.sh $(call quote,$(PYTHON)) .venv-trackers requirements-trackers.txt
	$(Q).venv-trackers/bin/python -m pytest -m trackers tests/trackers $(TESTS)
lint: venv              ## check style, format and types
	$(Q)$(python) -m ruff check && $(python) -m ruff format --check && $(python) -m mypy
bench-launch bench-expand bench-step bench-optim bench-transformer: venv ## measure launching, expansion, training steps, optimizers, depth
	$(Q)$(python) tests/bench/$(@:bench-%=%).py
bench-low-rank bench-sketched: venv ## measure compressed layers against dense ones, and networks compressed under a floor
	$(Q)$(python) tests/bench/$(subst -,_,$(@:bench-%=%)).py
bench-analysis: venv    ## measure reading, ranking and reporting of thousands of runs
	$(Q)$(python) tests/bench/analysis.py
bench-search bench-hpo bench-asha: venv ## measure samplers, search on tables of real results, and what asha spends and finds
	$(Q)$(python) tests/bench/$(@:bench-%=%).py
pictures: venv          ## draw the pictures of the README again
	$(Q)$(python) tests/pictures/draw.py
clean:                  ## remove caches and sweep_configs; keeps .config, results and data
	$(Q)scripts/clean.sh clean $(call quote,$(out))
mrproper:               ## clean, .config and VENV too; with SURE=1 all sweeps in RESULTS
	$(Q)scripts/clean.sh mrproper $(call quote,$(out)) $(call quote,$(VENV)) $(if $(call yes,SURE),$(call quote,$(results)))

## Variables
#: RANGE_CONFIG=  range file (or .yaml search space): a path, or a name in defconfigs/ (lenet5-sweep)
#: STRATEGY=      how points are chosen: grid, random, qmc, tpe, gp, cmaes, nsga2, halving, asha, hyperband, pbt
#: TRIALS=        points to run, where the strategy chooses them
#: PARALLEL=      runs at a time (one for each GPU, or CPU core)
#: STRATEGIES=    strategies to compare (random,tpe,halving,asha,hyperband)
#: SEEDS=         seeds of each strategy (3), of final (5), of each pair of tune-act (1)
#: THRESHOLDS= LAMBDAS=  what tune-act tries: "0.5 0.9"
#: SCORE=         what tune-act ranks by: perplexity, layers, balanced, or an expression over metrics
#: DATA=          data set of tune-act (pydoc)
#: BATCH_SIZE= D_MODEL= LAYERS= LENGTH= EXPERTS= LR=  training and model of tune-act
#: BUDGET=        epochs of each, all runs together
#: EPOCHS=        epochs of each run, whatever the range file says
#: RESULTS=       results directory, or one sweep in it (O/test_matrix_results)
#: CONFIG=        one config file or run directory, for train, rerun, check and why (why: also a label, config_007)
#: A= B=          what is compared: old and new
#: METRICS=       what sweep-compare tracks (the goals of A): "val_acc step_time_s depth:max"
#: TO=            preset that sweep-transfer puts the best values into
#: SYMBOLS=       the symbols that sweep-transfer takes over (all that were swept)
#: OUT=           where best, sweep-refine and sweep-transfer write (the sweep's directory)
#: TRACKER=       tracker of sweep-track: tensorboard, mlflow, wandb, trackio
#: PORT=          port of report-serve on this machine (8080; 0: any free one)
#: DEFCONFIG=     preset, for defconfig
#: NAME=          embeddings that data-split splits: DATA_DIR/NAME_image_embeddings.pt and its two siblings
#: VAL= TEST= TUNING=  share of the images for validation (0.1), for test (0.2), and of those for training in NAME_tuning (0.2)
#: SEED=          seed of data-split (42)
#: RUN=           run directory that gallery draws
#: DATA_DIR=      where data sets lie (data)
#: DRY_RUN=1      print what would run, and stop
#: YES=1          run a plan of more than CONFIG_SWEEP_MAX_RUNS runs
#: FRESH=1        start a finished or stopped sweep anew, in a new directory
#: O=             directory of .config, sweep_configs and results (.)
#: V=1            print the commands
#: KCONFIG_CONFIG=     the file to edit (O/.config)
#: KCONFIG_ALLCONFIG=  file of values that all*config and randconfig keep
#: KCONFIG_SEED=       seed of randconfig; printed, so that it can be repeated
#: KCONFIG_PROBABILITY=  percent of y among randconfig's yes/no symbols (50)
#: PYTHON=        interpreter of Python 3.11 or newer (python3)
#: VENV=          virtual environment (.venv); empty: use PYTHON as it is
