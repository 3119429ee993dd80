"""The programs of cuda.py, in Triton: what one program (a CUDA block of threads) computes.

A program has a run of columns of one image row. There all columns of a tap read the same few source rows, each from
some column on around the image; cuda.RowSums lists them. So the samples of a tap are weighted sums of contiguous runs:
they are made in registers, multiplied there with the tap's slice of the weight, and never written. Images are
(B, C, H, W).
"""

import triton
import triton.language as tl

# ------------------------------------------------------------------------------------------------------------- sampling


@triton.jit
def channel_pointers(x, hidden, b, channel, X: tl.constexpr, HIDDEN: tl.constexpr, PIXELS: tl.constexpr):
    """Pointers to channels of image b, as a column: the X channels of x, then the HIDDEN channels of hidden."""
    number = channel.to(tl.int64)  # so that all products are 64 bits wide
    of_x = x + (number + b * X) * PIXELS
    of_hidden = hidden + (number + b * HIDDEN - X) * PIXELS
    return tl.where(channel < X, of_x, of_hidden)[:, None]


@triton.jit
def read_columns(entry, column, entries, weights, WIDTH: tl.constexpr, STEP: tl.constexpr, DIVISOR: tl.constexpr,
                 EDGE: tl.constexpr):
    """What an entry of `RowSums` says of the columns of a program: the column to read, its weight, the next column to
    read, and its weight. STEP, DIVISOR, EDGE: see `RowSums`."""
    first = (STEP * column + tl.load(entries + 4 * entry + 1)) % WIDTH
    second = (first + 1) % WIDTH
    weight_first = tl.broadcast_to(tl.load(weights + 2 * entry), column.shape)
    weight_second = tl.broadcast_to(tl.load(weights + 2 * entry + 1), column.shape)
    if EDGE == "read":
        weight_first = tl.where(first == tl.load(entries + 4 * entry + 2), 0.0, weight_first)
        weight_second = tl.where(second == tl.load(entries + 4 * entry + 3), 0.0, weight_second)
    if EDGE == "written":
        weight_first = tl.where(column == tl.load(entries + 4 * entry + 2), 0.0, weight_first)
        weight_second = tl.where(column == tl.load(entries + 4 * entry + 3), 0.0, weight_second)
    if DIVISOR > 1:  # some lie between two columns of the coarser image
        weight_first = tl.where(first % DIVISOR == 0, weight_first, 0.0)
        weight_second = tl.where(second % DIVISOR == 0, weight_second, 0.0)
    return first // DIVISOR, weight_first, second // DIVISOR, weight_second


@triton.jit
def add_entry(samples, entry, channels, inside, column, entries, weights, WIDTH: tl.constexpr, STEP: tl.constexpr,
              DIVISOR: tl.constexpr, EDGE: tl.constexpr):
    """samples (channels, columns) and what an entry of `RowSums` adds: a source row's run, and the run beside it."""
    first, weight_first, second, weight_second = read_columns(entry, column, entries, weights, WIDTH, STEP, DIVISOR,
                                                              EDGE)
    row = channels + tl.load(entries + 4 * entry) * (WIDTH // DIVISOR)
    samples += weight_first[None, :] * tl.load(row + first[None, :], mask=inside, other=0.0)
    samples += weight_second[None, :] * tl.load(row + second[None, :], mask=inside, other=0.0)
    return samples


@triton.jit
def sample(row, tap, channels, inside, column, starts, entries, weights, WIDTH: tl.constexpr, STEP: tl.constexpr,
           DIVISOR: tl.constexpr, EDGE: tl.constexpr, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr):
    """The samples of a tap for a run of columns of a row: (CHANNELS, COLUMNS), float32, in registers."""
    samples = tl.zeros((CHANNELS, COLUMNS), tl.float32)
    if starts is None:  # two entries each
        for side in tl.static_range(2):
            samples = add_entry(samples, 2 * (9 * row + tap) + side, channels, inside, column, entries, weights, WIDTH,
                                STEP, DIVISOR, EDGE)
    else:
        for entry in range(tl.load(starts + 9 * row + tap), tl.load(starts + 9 * row + tap + 1)):
            samples = add_entry(samples, entry, channels, inside, column, entries, weights, WIDTH, STEP, DIVISOR, EDGE)
    return samples


@triton.jit
def own_columns(WIDTH_OUT: tl.constexpr, COLUMNS: tl.constexpr):
    """The program's row, its columns, and which of these are in the image: program_id(0) counts runs row by row."""
    runs: tl.constexpr = (WIDTH_OUT + COLUMNS - 1) // COLUMNS
    column = tl.program_id(0) % runs * COLUMNS + tl.arange(0, COLUMNS)
    return tl.program_id(0) // runs, column, column < WIDTH_OUT


# ------------------------------------------------------------------------------------------------ products with samples


@triton.jit
def add_product(total, kernel, output, channel, samples, OUTPUT_STRIDE: tl.constexpr, TYPE: tl.constexpr,
                PRECISION: tl.constexpr):
    """total (outputs, columns) and the product of a tap's weights (outputs, channels) with samples (channels, columns).
    The weights are padded, so that whole vectors of them can be loaded."""
    slice_of_kernel = tl.load(kernel + output[:, None] * OUTPUT_STRIDE + channel[None, :])
    return tl.dot(slice_of_kernel.to(TYPE), samples.to(TYPE), total, input_precision=PRECISION)


@triton.jit
def convolve(row, column, inside, x, hidden, kernel, starts, entries, weights, X: tl.constexpr, HIDDEN: tl.constexpr,
             PIXELS: tl.constexpr, OUTPUT_STRIDE: tl.constexpr, TAP_STRIDE: tl.constexpr, WIDTH: tl.constexpr,
             STEP: tl.constexpr, DIVISOR: tl.constexpr, EDGE: tl.constexpr, TYPE: tl.constexpr,
             PRECISION: tl.constexpr, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
             REST: tl.constexpr):
    """The convolution for a run of columns, two sums: of BLOCK outputs, and of REST more if REST is not 0. They stay in
    registers; program_id(2) counts blocks of outputs, program_id(1) images."""
    output = tl.program_id(2) * (BLOCK + REST) + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, COLUMNS), tl.float32)
    if REST:
        more_outputs = tl.program_id(2) * (BLOCK + REST) + BLOCK + tl.arange(0, REST)
        rest = tl.zeros((REST, COLUMNS), tl.float32)
    steps: tl.constexpr = (X + HIDDEN + CHANNELS - 1) // CHANNELS
    for n in range(9 * steps):
        tap, channel = n // steps, n % steps * CHANNELS + tl.arange(0, CHANNELS)
        channels = channel_pointers(x, hidden, tl.program_id(1), channel, X, HIDDEN, PIXELS)
        readable = (channel < X + HIDDEN)[:, None] & inside[None, :]
        samples = sample(row, tap, channels, readable, column, starts, entries, weights, WIDTH, STEP, DIVISOR, EDGE,
                         CHANNELS, COLUMNS)
        total = add_product(total, kernel + tap * TAP_STRIDE, output, channel, samples, OUTPUT_STRIDE, TYPE, PRECISION)
        if REST:
            rest = add_product(rest, kernel + tap * TAP_STRIDE, more_outputs, channel, samples, OUTPUT_STRIDE, TYPE,
                               PRECISION)
    if not REST:
        rest = total
    return total, rest


# ---------------------------------------------------------------------------------------------------------- convolution


@triton.jit
def store_outputs(total, first, row, column, inside, bias, out, OUTPUTS: tl.constexpr, PIXELS_OUT: tl.constexpr,
                  WIDTH_OUT: tl.constexpr, BLOCK: tl.constexpr):
    """Adds the bias, if there is one, and writes outputs first to first + BLOCK - 1 of a run."""
    output = first + tl.arange(0, BLOCK)
    if bias is not None:
        total += tl.load(bias + output, mask=output < OUTPUTS, other=0.0)[:, None]
    channels = channel_pointers(out, out, tl.program_id(1), output, OUTPUTS, 0, PIXELS_OUT)
    tl.store(channels + (row * WIDTH_OUT + column)[None, :], total, mask=(output < OUTPUTS)[:, None] & inside[None, :])


@triton.jit
def conv(out, x, kernel, bias, starts, entries, weights, X: tl.constexpr, OUTPUTS: tl.constexpr,
         OUTPUT_STRIDE: tl.constexpr, TAP_STRIDE: tl.constexpr, PIXELS: tl.constexpr, PIXELS_OUT: tl.constexpr,
         WIDTH_OUT: tl.constexpr, WIDTH: tl.constexpr, STEP: tl.constexpr, DIVISOR: tl.constexpr, EDGE: tl.constexpr,
         TYPE: tl.constexpr, PRECISION: tl.constexpr, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr,
         BLOCK: tl.constexpr, REST: tl.constexpr):
    """A convolution; with the transposed kernel and `RowSums`, the gradient of its input."""
    row, column, inside = own_columns(WIDTH_OUT, COLUMNS)
    total, rest = convolve(row, column, inside, x, x, kernel, starts, entries, weights, X, 0, PIXELS, OUTPUT_STRIDE,
                           TAP_STRIDE, WIDTH, STEP, DIVISOR, EDGE, TYPE, PRECISION, CHANNELS, COLUMNS, BLOCK, REST)
    first = tl.program_id(2) * (BLOCK + REST)
    store_outputs(total, first, row, column, inside, bias, out, OUTPUTS, PIXELS_OUT, WIDTH_OUT, BLOCK)
    if REST:
        store_outputs(rest, first + BLOCK, row, column, inside, bias, out, OUTPUTS, PIXELS_OUT, WIDTH_OUT, REST)


@triton.jit
def load_gradient(grad, b, output, row, column, inside, OUTPUTS: tl.constexpr, PIXELS_OUT: tl.constexpr,
                  WIDTH_OUT: tl.constexpr):
    """The gradient of some outputs for a run of columns: (outputs, columns)."""
    run = grad + (tl.cast(b, tl.int64) * OUTPUTS * PIXELS_OUT + row * WIDTH_OUT) + column
    if OUTPUTS * PIXELS_OUT < 1 << 31:  # numbers of 32 bits reach all of an image, and need fewer registers
        channels = output * PIXELS_OUT
    else:
        channels = output.to(tl.int64) * PIXELS_OUT
    return tl.load(run[None, :] + channels[:, None], mask=(output < OUTPUTS)[:, None] & inside[None, :], other=0.0)


@triton.jit
def store_partial_sum(total, output, channel, part, OUTPUTS: tl.constexpr, INPUTS: tl.constexpr):
    tl.store(part + output[:, None] * INPUTS + channel[None, :], total,
             mask=(output < OUTPUTS)[:, None] & (channel < INPUTS)[None, :])


@triton.jit
def weight_gradient(parts, grad, x, hidden, entries, weights, rows, rows_each, X: tl.constexpr, HIDDEN: tl.constexpr,
                    OUTPUTS: tl.constexpr, PIXELS: tl.constexpr, PIXELS_OUT: tl.constexpr, WIDTH_OUT: tl.constexpr,
                    WIDTH: tl.constexpr, STEP: tl.constexpr, DIVISOR: tl.constexpr, EDGE: tl.constexpr,
                    TYPE: tl.constexpr, PRECISION: tl.constexpr, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr,
                    BLOCK: tl.constexpr, REST: tl.constexpr):
    """The part of some rows in the gradient of a tap's weights, in registers until it is whole: parts (programs of axis
    1, 9, OUTPUTS, X + HIDDEN). The samples are made again.

    program_id(0) counts blocks of channels, then taps, so that programs that read the same gradient run together;
    program_id(1) counts runs of rows_each of the rows of all images; program_id(2) counts blocks of outputs.
    """
    inputs: tl.constexpr = X + HIDDEN
    channel_blocks: tl.constexpr = (inputs + CHANNELS - 1) // CHANNELS
    runs: tl.constexpr = (WIDTH_OUT + COLUMNS - 1) // COLUMNS
    tap = tl.program_id(0) // channel_blocks
    channel = tl.program_id(0) % channel_blocks * CHANNELS + tl.arange(0, CHANNELS)
    output = tl.program_id(2) * (BLOCK + REST) + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, CHANNELS), tl.float32)
    if REST:
        more_outputs = tl.program_id(2) * (BLOCK + REST) + BLOCK + tl.arange(0, REST)
        rest = tl.zeros((REST, CHANNELS), tl.float32)
    first_row = tl.program_id(1) * rows_each
    for n in range(first_row * runs, tl.minimum(first_row + rows_each, rows) * runs):
        b, row = n // runs // (PIXELS_OUT // WIDTH_OUT), n // runs % (PIXELS_OUT // WIDTH_OUT)
        column = n % runs * COLUMNS + tl.arange(0, COLUMNS)
        inside = column < WIDTH_OUT
        channels = channel_pointers(x, hidden, b, channel, X, HIDDEN, PIXELS)
        samples = sample(row, tap, channels, (channel < inputs)[:, None] & inside[None, :], column, None, entries,
                         weights, WIDTH, STEP, DIVISOR, EDGE, CHANNELS, COLUMNS)
        samples = tl.trans(samples.to(TYPE))
        own = load_gradient(grad, b, output, row, column, inside, OUTPUTS, PIXELS_OUT, WIDTH_OUT)
        total = tl.dot(own.to(TYPE), samples, total, input_precision=PRECISION)
        if REST:
            own = load_gradient(grad, b, more_outputs, row, column, inside, OUTPUTS, PIXELS_OUT, WIDTH_OUT)
            rest = tl.dot(own.to(TYPE), samples, rest, input_precision=PRECISION)
    part = parts + (tl.program_id(1).to(tl.int64) * 9 + tap) * (OUTPUTS * inputs)
    store_partial_sum(total, output, channel, part, OUTPUTS, inputs)
    if REST:
        store_partial_sum(rest, more_outputs, channel, part, OUTPUTS, inputs)


# ------------------------------------------------------------------------------------------------------------ LSTM step


@triton.jit
def tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def activated(gate, number: tl.constexpr, bias, channel, HIDDEN: tl.constexpr):
    """A gate (channels, columns) after its bias and activation, in the order input, forget, output, candidate."""
    gate += tl.load(bias + number * HIDDEN + channel, mask=channel < HIDDEN, other=0.0)[:, None]
    if number == 3:
        return tanh(gate)
    return tl.sigmoid(gate)


@triton.jit
def finish_step(gates_of_channels, first, row, column, inside, cell, bias, next_hidden, next_cell, gates,
                HIDDEN: tl.constexpr, PIXELS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
                COLUMNS: tl.constexpr):
    """Activates the gates (4 * BLOCK, columns), four after the other for each hidden channel from `first` on, and
    writes the next hidden and cell state, and the activated gates where they are kept."""
    channel = first + tl.arange(0, BLOCK)
    input_and_output, forget_and_candidate = tl.split(
        tl.permute(tl.reshape(gates_of_channels, (BLOCK, 2, 2, COLUMNS)), (0, 3, 1, 2)))
    i, o = tl.split(input_and_output)
    f, g = tl.split(forget_and_candidate)
    i, f = activated(i, 0, bias, channel, HIDDEN), activated(f, 1, bias, channel, HIDDEN)
    o, g = activated(o, 2, bias, channel, HIDDEN), activated(g, 3, bias, channel, HIDDEN)
    pixel = (row * WIDTH + column)[None, :]
    offset = (tl.program_id(1).to(tl.int64) * HIDDEN + channel[:, None]) * PIXELS + pixel
    writable = (channel < HIDDEN)[:, None] & inside[None, :]
    state = f * tl.load(cell + offset, mask=writable, other=0.0) + i * g
    tl.store(next_cell + offset, state, mask=writable)
    tl.store(next_hidden + offset, o * tanh(state), mask=writable)
    if gates is not None:
        offset = (tl.program_id(1).to(tl.int64) * HIDDEN + channel[:, None]) * (4 * PIXELS) + pixel
        tl.store(gates + offset, i, mask=writable)
        tl.store(gates + offset + PIXELS, f, mask=writable)
        tl.store(gates + offset + 2 * PIXELS, o, mask=writable)
        tl.store(gates + offset + 3 * PIXELS, g, mask=writable)


@triton.jit
def lstm_step(next_hidden, next_cell, gates, x, hidden, cell, kernel, bias, entries, weights, X: tl.constexpr,
              HIDDEN_READ: tl.constexpr, HIDDEN: tl.constexpr, OUTPUT_STRIDE: tl.constexpr, TAP_STRIDE: tl.constexpr,
              PIXELS: tl.constexpr, WIDTH: tl.constexpr, STEP: tl.constexpr, DIVISOR: tl.constexpr, EDGE: tl.constexpr,
              TYPE: tl.constexpr, PRECISION: tl.constexpr, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr,
              BLOCK: tl.constexpr, REST: tl.constexpr):
    """A step of the LSTM. The four gates of a hidden channel are four outputs one after the other, so that they meet in
    one program. gates: None, or where they are kept for the backward pass: (B, HIDDEN, 4, H, W)."""
    row, column, inside = own_columns(WIDTH, COLUMNS)
    total, rest = convolve(row, column, inside, x, hidden, kernel, None, entries, weights, X, HIDDEN_READ, PIXELS,
                           OUTPUT_STRIDE, TAP_STRIDE, WIDTH, STEP, DIVISOR, EDGE, TYPE, PRECISION, CHANNELS, COLUMNS,
                           BLOCK, REST)
    first = tl.program_id(2) * ((BLOCK + REST) // 4)
    finish_step(total, first, row, column, inside, cell, bias, next_hidden, next_cell, gates, HIDDEN, PIXELS, WIDTH,
                BLOCK // 4, COLUMNS)
    if REST:
        finish_step(rest, first + BLOCK // 4, row, column, inside, cell, bias, next_hidden, next_cell, gates, HIDDEN,
                    PIXELS, WIDTH, REST // 4, COLUMNS)


@triton.jit
def gate_gradients(grad_gates, grad_cell_before, grad_hidden, grad_cell, gates, cell, next_cell, count,
                   PIXELS: tl.constexpr, VALUES: tl.constexpr):
    """The gradients of the gates before activation, and of the cell state before the step, from those of the states
    after it: for VALUES of the count values of a state."""
    value = tl.program_id(0).to(tl.int64) * VALUES + tl.arange(0, VALUES)
    inside = value < count
    gate = value // PIXELS * (4 * PIXELS) + value % PIXELS
    i, f = tl.load(gates + gate, mask=inside), tl.load(gates + gate + PIXELS, mask=inside)
    o, g = tl.load(gates + gate + 2 * PIXELS, mask=inside), tl.load(gates + gate + 3 * PIXELS, mask=inside)
    before, squashed = tl.load(cell + value, mask=inside), tanh(tl.load(next_cell + value, mask=inside))
    of_hidden, of_cell = tl.load(grad_hidden + value, mask=inside), tl.load(grad_cell + value, mask=inside)
    of_cell += of_hidden * o * (1 - squashed * squashed)
    tl.store(grad_cell_before + value, of_cell * f, mask=inside)
    tl.store(grad_gates + gate, of_cell * g * i * (1 - i), mask=inside)
    tl.store(grad_gates + gate + PIXELS, of_cell * before * f * (1 - f), mask=inside)
    tl.store(grad_gates + gate + 2 * PIXELS, of_hidden * squashed * o * (1 - o), mask=inside)
    tl.store(grad_gates + gate + 3 * PIXELS, of_cell * i * (1 - g * g), mask=inside)


# -------------------------------------------------------------------------------------------------------------- pooling


@triton.jit
def max_pool(out, largest_taps, x, entries, weights, X: tl.constexpr, PIXELS: tl.constexpr, PIXELS_OUT: tl.constexpr,
             WIDTH_OUT: tl.constexpr, WIDTH: tl.constexpr, STEP: tl.constexpr, DIVISOR: tl.constexpr,
             EDGE: tl.constexpr, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr):
    """The largest of the nine taps. largest_taps: None, or where the backward pass finds a bit for each tap that is so
    large and, from bit 9 on, how many these are, int16."""
    row, column, inside = own_columns(WIDTH_OUT, COLUMNS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    there = (channel < X)[:, None] & inside[None, :]
    channels = channel_pointers(x, x, tl.program_id(1), channel, X, 0, PIXELS)
    largest = tl.full((CHANNELS, COLUMNS), float("-inf"), tl.float32)
    found = tl.zeros((CHANNELS, COLUMNS), tl.int32)
    for tap in range(9):
        samples = sample(row, tap, channels, there, column, None, entries, weights, WIDTH, STEP, DIVISOR, EDGE,
                         CHANNELS, COLUMNS)
        larger = (samples > largest) | (samples != samples)  # NaN goes through
        one = (1 << tap) + (1 << 9)
        found = tl.where(larger, one, tl.where(samples == largest, found + one, found))
        largest = tl.where(larger, samples, largest)
    offset = (tl.program_id(1).to(tl.int64) * X + channel[:, None]) * PIXELS_OUT + (row * WIDTH_OUT + column)[None, :]
    tl.store(out + offset, largest, mask=there)
    if largest_taps is not None:
        tl.store(largest_taps + offset, found.to(tl.int16), mask=there)


@triton.jit
def share(grad, largest_taps, offset, tap, inside):
    """The tap's share of the gradient: nothing where it is not the largest, an equal part where several are."""
    found = tl.load(largest_taps + offset, mask=inside, other=1 << 9).to(tl.int32)
    part = tl.load(grad + offset, mask=inside, other=0.0) / (found >> 9).to(tl.float32)
    return tl.where((found >> tap & 1) != 0, part, 0.0)


@triton.jit
def max_pool_backward(grad_x, grad, largest_taps, starts, entries, weights, X: tl.constexpr, PIXELS: tl.constexpr,
                      PIXELS_OUT: tl.constexpr, WIDTH_OUT: tl.constexpr, WIDTH: tl.constexpr, STEP: tl.constexpr,
                      DIVISOR: tl.constexpr, EDGE: tl.constexpr, CHANNELS: tl.constexpr, COLUMNS: tl.constexpr):
    """The gradient of the input, from transposed `RowSums`. As everywhere, what is written is the program's row: here
    that is a row of the input, PIXELS_OUT and WIDTH_OUT are the input's, and grad has PIXELS pixels."""
    row, column, inside = own_columns(WIDTH_OUT, COLUMNS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    there = (channel < X)[:, None] & inside[None, :]
    image = (tl.program_id(1).to(tl.int64) * X + channel[:, None]) * PIXELS
    total = tl.zeros((CHANNELS, COLUMNS), tl.float32)
    for tap in range(9):
        for entry in range(tl.load(starts + 9 * row + tap), tl.load(starts + 9 * row + tap + 1)):
            first, weight_first, second, weight_second = read_columns(entry, column, entries, weights, WIDTH, STEP,
                                                                      DIVISOR, EDGE)
            line = image + tl.load(entries + 4 * entry) * (WIDTH // DIVISOR)
            total += weight_first[None, :] * share(grad, largest_taps, line + first[None, :], tap, there)
            total += weight_second[None, :] * share(grad, largest_taps, line + second[None, :], tap, there)
    offset = (tl.program_id(1).to(tl.int64) * X + channel[:, None]) * PIXELS_OUT + (row * WIDTH_OUT + column)[None, :]
    tl.store(grad_x + offset, total, mask=there)
