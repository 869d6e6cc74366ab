# The common commands, each a line or two over CMake; CMakePresets.json holds the settings.
# `make` alone builds the program at build/precis.

SOURCES := git ls-files '*.cc' '*.h'

.PHONY: build setup configure run test bench format lint clean

build: configure  ## the program, at build/precis
	cmake --build --preset release --target precis

setup:
	tools/setup.sh

configure: setup
	cmake --preset release --log-level=WARNING $(CMAKE_FLAGS)

run: build  ## questions about a book of 100,000 tokens to the bundled model
	build/precis ask

test: configure  ## every test on this machine
	cmake --build --preset release
	ctest --preset release

bench: setup  ## limits of this machine, every operation, and speeds over context of the bundled model
	cmake --preset bench --log-level=WARNING
	cmake --build --preset bench --target precis bench_ops
	build-bench/precis bench machine
	build-bench/bench_ops --models mini
	build-bench/precis bench step --frontiers 2K,8K,32K,128K

format:  ## rewrites every source file in the project's layout
	$(SOURCES) | xargs clang-format -i

lint: configure  ## folder order, layout and clang-tidy
	cmake -DROOT=. -P tools/check_layers.cmake
	$(SOURCES) | xargs clang-format --dry-run -Werror
	git ls-files '*.cc' | xargs -P2 -n8 clang-tidy -p build --quiet

clean:
	rm -rf build build-*
