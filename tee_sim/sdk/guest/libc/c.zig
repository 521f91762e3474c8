//! The root of Zig's own C library (lib/c of the compiler), cut down to what works without a kernel.
//! A program takes the functions that it calls; those it has itself come first (weak symbols).
const std = @import("std");

pub const panic = std.debug.no_panic;

pub fn symbol(comptime function: *const anyopaque, comptime name: []const u8) void {
    @export(function, .{ .name = name, .linkage = .weak, .visibility = .hidden });
}

comptime {
    _ = @import("c/ctype.zig");
    _ = @import("c/inttypes.zig");
    _ = @import("c/math.zig");
    _ = @import("c/search.zig");
    _ = @import("c/stdlib.zig");
    _ = @import("c/string.zig");
    _ = @import("c/strings.zig");
    _ = @import("c/wchar.zig");
}
