# Sourced by scripts that link nothing, for which AWS-LC's C would be compiled in vain. `no_c` has options of
# cargo that put values in the place of what the build script of its package prints.
# shellcheck shell=bash disable=SC2034 # Used by what sources it.
no_c=target.$(rustc -vV | sed -n 's/^host: //p')
no_c+=.aws_lc_$(sed -n '/^name = "aws-lc-sys"/{n;s/.*"\(.*\)"/\1/;y/./_/;p}' Cargo.lock)
no_c=(--config "$no_c.rustc-cfg=['universal']" --config "$no_c.include=''")
