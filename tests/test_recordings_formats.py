"""The readers of recordings: every format as its files are written, with random values, and the faults they have."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import InputError
from recordings import d_sav360, em_360, nasrabadi2019, opensal360, pvs_hm, salient360, tables, vr_eyetracking
from recordings.collection import collect
from recordings.formats import FORMATS, PICKLES, find_recordings, recognise
from recordings.samples import Options, frames_at

OPTIONS = Options()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read_all(path, **options):
    """(video, kind, frame or time, longitude, latitude, user) of every sample, and the number of rows skipped."""
    recordings, skipped = FORMATS[recognise(path)].read(path, Options(**options))
    rows = [(recording.video, recording.kind, when, *where)
            for recording in recordings
            for when, *where in zip((recording.time if np.isnan(recording.samples.frame).any() else
                                     recording.samples.frame).tolist(),
                                    *(column.tolist() for column in recording.samples[1:]))]
    assert sorted(skipped) == list(skipped)
    return rows, len(skipped)


def close(rows, expected):
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected):
        assert row[:2] == other[:2] and row[5] == other[5]
        np.testing.assert_allclose(row[2:5], other[2:5], atol=1e-6)


FRACTIONS = st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)


@given(FRACTIONS, st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(max_examples=25)
def test_vr_eyetracking(tmp_path_factory, samples, ending, mark):
    folder = tmp_path_factory.mktemp("vr") / "Gaze_txt_files/Gaze_txt_files/p007"
    text = "".join(f"frame,{n},forward,{y},{x},eye,{x},{y}{ending}" for n, x, y in samples)
    path = write(folder / "059._2017-10-13-10-28_ori_0.txt", "\ufeff" * mark + text)
    close(read_all(path)[0], [("059", "gaze", n - 1, 360 * x - 180, 180 * y - 90, "p007") for n, x, y in samples])
    close(read_all(path, kind="head")[0],
          [("059", "head", n - 1, 360 * y - 180, 180 * x - 90, "p007") for n, x, y in samples])


def test_vr_eyetracking_with_semicolons_and_decimal_commas(tmp_path):
    path = write(tmp_path / "p1/180.txt", "frame;3;forward;0,5;0,5;eye;0,75;0,25\n")
    close(read_all(path)[0], [("180", "gaze", 2, 90, -45, "p1")])


@given(FRACTIONS, st.permutations(["video", "frame", "t", "u", "v", "id", "fixation", "valid_fix_classification"]))
@settings(max_examples=25)
def test_d_sav360_by_the_columns_names(tmp_path_factory, samples, columns):
    path = tmp_path_factory.mktemp("dsav") / "gaze_video_0002.csv"
    lines = [",".join(columns)]
    for n, u, v in [(0, 0.5, 0.5), *samples]:
        cells = {"video": 2, "frame": n, "t": n / 60, "u": u, "v": v, "id": 7, "fixation": 1,
                 "valid_fix_classification": True}
        lines.append(",".join(str(cells[column]) for column in columns))
    rows, skipped = read_all(write(path, "\n".join(lines)))
    assert skipped == 1  # the error row
    close(rows, [("0002", "gaze", n, 360 * u - 180, 90 - 180 * v, "7") for n, u, v in samples])


def test_d_sav360_authors_fixations():
    frame = np.array([300, 300, 301, 304, 305, 308, 316, 300, 309, 316])
    user = np.array([*"1111111333"], object)
    time = frame / 60 + np.array([0, 0.001, *[0] * 8])
    fixation = np.array([1, 1, 1, 0, 1, 1, 1, 1, 1, 0], bool)
    valid = np.array([1, 1, 1, 1, 1, 1, 0, 1, 1, 1], bool)
    rows, frames = d_sav360.authors_fixations(frame, user, time, fixation, valid)
    assert list(zip(rows.tolist(), frames.tolist())) == [(0, 300), (4, 300), (5, 308), (7, 300), (8, 308)]
    assert len(d_sav360.authors_fixations(frame[:0], user[:0], time[:0], fixation[:0], valid[:0])[0]) == 0


def test_d_sav360_recorded_fixations_of_a_file(tmp_path):
    path = write(tmp_path / "gaze_video_0012.csv", "video,id,t,frame,u,v,fixation,valid_fix_classification\n"
                 "12,1,0,0,0.5,0.5,0,False\n12,1,5,300,0.75,0.25,1,True\n12,1,5.1,303,0.7,0.2,1,True\n"
                 "12,1,5.2,309,0.1,0.1,1,False\n12,1,5.4,320,0.25,0.75,1,1\n")
    close(read_all(path, fixations="recorded")[0],
          [("0012", "gaze", 300, 90, 45, "1"), ("0012", "gaze", 316, -90, -45, "1")])


SPANS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(1, 50), st.integers(0, 6)), min_size=1,
                 max_size=8)


@given(st.lists(SPANS, min_size=1, max_size=3), st.sampled_from(["H", "HE/L", "HE/R"]))
@settings(max_examples=25)
def test_salient360_videos(tmp_path_factory, observers, place):
    path = tmp_path_factory.mktemp("salient") / f"Videos/{place}/Scanpaths/4_Ocean_fixations.csv"
    if "/" in place:
        path = path.parents[2] / f"HE/Scanpaths/{place[-1]}/4_Ocean_fixations.csv"
    lines = ["# Idx, longitude, latitude, start timestamp, duration, start frame, end frame"]
    expected = []
    for user, spans in enumerate(observers):
        for index, (a, b, start, more) in enumerate(spans):
            lines.append(f"{index},{a:.18e},{b:.18e},-8.0,{more},{start},{start + more}")
            expected += [("4_Ocean", "head" if place == "H" else "gaze", start - 1 + k, 360 * a - 180, 90 - 180 * b,
                          str(user)) for k in range(more + 1)]
    rows, skipped = read_all(write(path, "\n".join(lines) + "\n"))
    assert skipped == 0
    close(rows, expected)


def test_salient360_faults_images_and_samples_of_others(tmp_path):
    header = "# Idx, longitude, latitude, start timestamp, duration, start frame, end frame\n"
    path = write(tmp_path / "Videos/H/Scanpaths/1_a_fixations.csv", header + "0,0.5,0.5,0,0,1,2\n1,1.5,0.5,0,0,3,4\n"
                 "2,nan,0.5,0,0,5,6\n3,0.5,0.5,0,0,8,7\n4,0.5,0.5,0,0,1,99999999\n1,0.75,0.25,0,0,1,1\n")
    rows, skipped = read_all(path)
    assert skipped == 4
    close(rows, [("1_a", "head", 0, 0, 0, "0"), ("1_a", "head", 1, 0, 0, "0"), ("1_a", "head", 0, 90, 45, "1")])
    path = write(tmp_path / "Images/HE/Scanpaths/R/HEscanpath_12.txt", "Idx, longitude, latitude, start timestamp\n"
                 "0,0.75,0.25,-0.02\n0,0.5,0.5,0.1\n")
    close(read_all(path)[0], [("12", "gaze", 0, 90, 45, "0"), ("12", "gaze", 0, 0, 0, "1")])
    path = write(tmp_path / "1_a_fixations/1_a_fixations_user_31.csv", "7.5e-01,2.5e-01,8.0e+00\n")
    close(read_all(path)[0], [("1_a", "head", 7, 90, 45, "31")])


ARFF = """@RELATION gaze_360

%@METADATA height_px 1080
%@METADATA width_px 1920

@ATTRIBUTE time INTEGER
@ATTRIBUTE x NUMERIC
@ATTRIBUTE y NUMERIC
@ATTRIBUTE confidence NUMERIC
@ATTRIBUTE x_head NUMERIC
@ATTRIBUTE y_head NUMERIC
@ATTRIBUTE angle_deg_head NUMERIC
@ATTRIBUTE labeller_1 {fixation, saccade}

@DATA
"""


@given(st.lists(st.tuples(st.integers(0, 10**8), st.floats(0, 1920), st.floats(0, 1080)), min_size=1, max_size=20))
@settings(max_examples=25)
def test_360_em(tmp_path_factory, samples):
    text = ARFF + "".join(f"{t},{x},{y},1.00,{y},{x / 2},0,{'saccade' if t % 2 else 'fixation'}\n"
                          for t, x, y in samples)
    path = write(tmp_path_factory.mktemp("em") / "012_10_name_ID.arff", text + "5,1,1,0.3,1,1,0,fixation\n")
    rows, skipped = read_all(path)
    assert skipped == 1
    close(rows, [("10_name_ID", "gaze", t / 1e6, 360 * x / 1920 - 180, 90 - 180 * y / 1080, "012")
                 for t, x, y in samples])
    close(read_all(path, kind="head")[0],
          [("10_name_ID", "head", t / 1e6, 360 * y / 1920 - 180, 90 - 90 * x / 1080, "012") for t, x, y in samples])
    assert len(read_all(path, fixations="recorded")[0]) == sum(t % 2 == 0 for t, _, _ in samples)


def test_360_em_header_is_needed(tmp_path):
    path = write(tmp_path / "012_1.arff", ARFF.replace("width_px 1920", "width_px 0"))
    with pytest.raises(InputError, match="lacks width_px, height_px or one of the attributes"):
        em_360.read(path, OPTIONS)
    path = write(tmp_path / "012_1.arff", ARFF.replace("x_head", "x_h"))
    with pytest.raises(InputError, match="no attribute x_head"):
        em_360.read(path, Options(kind="head"))
    with pytest.raises(InputError, match=r"012.arff is not named as 360_em's files are, SUBJECT_VIDEO.arff"):
        em_360.read(write(tmp_path / "012.arff", ARFF), OPTIONS)
    with pytest.raises(InputError, match=r"a.csv does not begin with the names of Salient360!'s columns"):
        salient360.read(write(tmp_path / "a.csv", "1,2,3\n"), OPTIONS)


def test_times_become_frames():
    microseconds = np.arange(0, 3_000_000, 7)
    np.testing.assert_array_equal(frames_at(microseconds / 1e6, 30.0), microseconds * 30 // 10**6)
    assert frames_at(np.array([0.0333, 0.1, 0.29]), 100.0).tolist() == [3, 10, 29]


def test_pvs_hm_text(tmp_path):
    line = "      16.683218      10.000000      20.000000      -1.05       0.475       0.488\n"
    path = write(tmp_path / "user_01/Lion.txt", line * 3 + line.replace("20.000000", "NaN") + line + "0.1335\n")
    rows, skipped = read_all(path)
    assert skipped == 1
    close(rows, [("Lion", "head", frame, -20, 10, "user_01") for frame in (0, 0, 1, 2)])
    path = write(tmp_path / "Subject_1/A380.txt", "  5.0  10.0\n -20.0  -90.0\n  x 1\n")
    rows, skipped = read_all(path)
    close(rows, [("A380", "head", 0, -10, 5, "Subject_1"), ("A380", "head", 0, 90, -20, "Subject_1")])
    assert skipped == 1


def test_pvs_hm_matrices(tmp_path):
    path = write(tmp_path / "FULL.mat", b"nothing")
    scipy = pytest.importorskip("scipy.io")
    with pytest.raises(InputError, match="not a MATLAB file"):
        pvs_hm.read(path, OPTIONS)
    scipy.savemat(path, {"Lion": np.array([[0, 0, 1, 2], [10, 20, np.nan, 2], [5, -170, 3, 4.0]])})
    rows, skipped = read_all(path)
    assert skipped == 1
    close(rows, [("Lion", "head", 0, 0, 0, "0"), ("Lion", "head", 0, -20, 10, "0"), ("Lion", "head", 1, 170, 5, "0"),
                 ("Lion", "head", 0, -2, 1, "1"), ("Lion", "head", 1, -4, 3, "1")])


def test_pvs_hm_without_scipy_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.io", None)
    with pytest.raises(InputError, match="pip install scipy"):
        pvs_hm.read(write(tmp_path / "FULL.mat", b""), OPTIONS)


DEGREES = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=20)


@given(DEGREES, st.booleans())
@settings(max_examples=25)
def test_pvs_hm_and_vr_hm48(tmp_path_factory, samples, is_older):
    path = tmp_path_factory.mktemp("pvs") / "user_02/Lion.txt"
    line = "  16.68 {} {} -1.05 0.475 0.488\n" if is_older else "{}  {}\n"
    rows, skipped = read_all(write(path, "".join(line.format(*sample) for sample in samples) + "0.13\n" * is_older))
    assert skipped == 0
    close(rows, [("Lion", "head", k // 2, -longitude, latitude, "user_02")
                 for k, (latitude, longitude) in enumerate(samples)])


@given(DEGREES, st.floats(0, 360))
@settings(max_examples=25)
def test_opensal360_of_any_angles(tmp_path_factory, samples, roll):
    text = "roll,frame,yaw,timestamp,pitch\n" + "".join(
        f"{roll},{k},{(270 - longitude) % 360},{k * 10**7},{-latitude % 360}\n"
        for k, (latitude, longitude) in enumerate(samples, start=1))
    rows, skipped = read_all(write(tmp_path_factory.mktemp("opensal") / "Lion/p0001.csv", text))
    assert skipped == 0 and [row[2] for row in rows] == list(range(len(samples)))
    for row, (latitude, longitude) in zip(rows, samples):
        assert abs((row[3] - longitude + 180) % 360 - 180) < 1e-6 and abs(row[4] - latitude) < 1e-6


@pytest.mark.parametrize(("yaw", "pitch", "longitude", "latitude"), [
    (270, 0, 0, 0), (180, 10, 90, -10), (180, 350, 90, 10), (0, 350, -90, 10), (300, 45, -30, -45), (90, 0, 180, 0)])
def test_opensal360(tmp_path, yaw, pitch, longitude, latitude):
    text = f"timestamp,frame,pitch,yaw,roll\r\n33333333,3,{pitch},{yaw},0\r\n1,2\r\n"
    path = write(tmp_path / "Lion/p0001.csv", text)
    rows, skipped = read_all(path)
    close(rows, [("Lion", "head", 2, longitude, latitude, "p0001")])
    assert skipped == 1
    with pytest.raises(InputError, match="lacks a column"):
        opensal360.read(write(path, "a,b\n"), OPTIONS)


@given(st.floats(-179, 179), st.floats(-85, 85), st.floats(0, 60))
@settings(max_examples=25)
def test_nasrabadi2019(tmp_path_factory, yaw, pitch, time):
    x, z = (np.cos(np.radians(pitch)) * part(np.radians(yaw)) for part in (np.sin, np.cos))
    text = f"{time},0,0,0,1,{x},{np.sin(np.radians(pitch))},{z}\n"
    folder = tmp_path_factory.mktemp("nasrabadi") / "Traces/0ABCD1"
    close(read_all(write(folder / "0ABCD1_12.csv", text))[0], [("12", "head", time, yaw, pitch, "0ABCD1")])
    turned, = read_all(write(folder / "0ABCD1_28.csv", text + "1,0,0,0,1,0,0,0.5\n"))[0]
    assert turned[0] == "28"
    assert abs((turned[3] - yaw + 81 + 180) % 360 - 180) < 1e-6


@given(FRACTIONS, st.sampled_from(["top", "bottom"]), st.sampled_from([",", ";", "\t"]), st.booleans())
@settings(max_examples=30)
def test_tables_of_fractions(tmp_path_factory, samples, origin, delimiter, comma):
    lines = [["U", "v", " user", "frame", "video"]]
    lines += [[u, v, "ann", n, "beach"] for n, u, v in samples]
    text = "\n".join(delimiter.join(str(cell).replace(".", "," if comma and delimiter != "," else ".") for cell in line)
                     for line in lines)
    path = write(tmp_path_factory.mktemp("table") / "gaze.tsv", text)
    rows, skipped = read_all(path, table_origin=origin, table_first_frame=1)
    sign = 1 if origin == "bottom" else -1
    close(rows, [("beach", "gaze", n - 1, 360 * u - 180, sign * (180 * v - 90), "ann") for n, u, v in samples])
    assert skipped == 0


@pytest.mark.parametrize(("column", "unit", "scale"), [
    ("time", "s", 1), ("time_ms", "s", 1e-3), ("Timestamp (us)", "s", 1e-6), ("t [ns]", "s", 1e-9),
    ("time", "ms", 1e-3)])
def test_times_of_tables_have_units(tmp_path, column, unit, scale):
    path = write(tmp_path / "videos/odv/0001.csv", f"{column},lon_deg,latitude (degrees)\n2500,-20.5,10\n")
    close(read_all(path, table_time=unit)[0], [("odv", "gaze", 2500 * scale, -20.5, 10, "0001")])


def test_a_table_without_video_is_named_after_folder_or_file(tmp_path):
    path = write(tmp_path / "ann/beach.csv", "frame,lon,lat\n3,1,2\n")
    assert read_all(path)[0] == [("ann", "gaze", 3, 1, 2, "beach")]
    assert read_all(path, names=frozenset(["beach"]))[0] == [("beach", "gaze", 3, 1, 2, "ann")]
    path = write(tmp_path / "x/odv.csv", "frame,2dmu,2dmv,id\n3,.75,.25,bob\n")
    assert read_all(path)[0] == [("odv", "head", 3, 90, 45, "bob")]


def test_kinds_of_our_tables_are_read_back(tmp_path):
    path = write(tmp_path / "a.csv", "video,frame,longitude,latitude,user,kind\na,1,2,3,ann,head\na,1,5,6,bob,gaze\n")
    assert sorted(row[1] for row in read_all(path)[0]) == ["gaze", "head"]


def test_large_tables_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("recordings.columns.ROWS_AT_A_TIME", 3)
    text = "video,frame,longitude,latitude\n" + "".join(f"{'ab'[n % 2]},{n},{n},0\n" for n in range(10))
    rows, skipped = read_all(write(tmp_path / "gaze.csv", text))
    assert skipped == 0
    assert sorted(row[2] for row in rows) == list(range(10))
    path = write(tmp_path / "p1/180.txt", "".join(f"frame,{n},forward,0,0,eye,0.5,0.5\n" for n in range(1, 9)))
    assert [row[2] for row in read_all(path)[0]] == list(range(8))


# --------------------------------------------------------------------------------------------------- folders of files


ONE_OF_EACH = {  # {path: text}
    "p1/059._2017-10_ori_0.txt": "frame,1,forward,0.5,0.5,eye,0.25,0.75\nframe,2,forward,0.5,0.5,eye,nan,0.75\n",
    "gaze_video_0002.csv": "video,id,frame,u,v\n2,7,300,0.75,0.25\n2,7,301,1.75,0.25\n",
    "H/Scanpaths/4_Ocean_fixations.csv": "# Idx, longitude, latitude, start timestamp, duration, start frame, end "
                                         "frame\n0,0.75,0.25,0,200,6,10\n1,0.75,-0.25,0,200,6,10\n",
    "012_10_name.arff": ARFF + "34000,1440,270,1,1,1,0,fixation\n35000,1440,270,0.2,1,1,0,fixation\n",
    "user_01/Lion.txt": "16.68 10 20 -1.05 0.475 0.488\n16.68 NaN 20 -1.05 0.475 0.488\n",
    "Lion/p0001.csv": "timestamp,frame,pitch,yaw,roll\n33,3,10,180,0\n33,0,10,180,0\n",
    "0ABCD1/0ABCD1_12.csv": "0.05,0,0,0,1,1,0,0\n0.06,0,0,0,1,1,1,0\n",
    "ann/beach.csv": "frame;lon;lat\n3;1,5;2\n3;181;2\n"}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_line_ends_byte_order_marks_and_blank_lines_change_nothing(tmp_path, name):
    plain = read_all(write(tmp_path / name, ONE_OF_EACH[name]))
    assert len(plain[0]) >= 1 and plain[1] == 1
    for mark in ("", "\ufeff"):
        for change in (lambda text: text.replace("\n", "\r\n"), lambda text: text + "\n \n", lambda text: text[:-1]):
            assert read_all(write(tmp_path / name, mark + change(ONE_OF_EACH[name]))) == plain


@st.composite
def data_sets(draw):
    """A folder of VR-EyeTracking as people have it: {(user, video): [(date, samples, how it is written)]}; users have a
    part of the videos, and some of these twice."""
    style = st.tuples(st.sampled_from([",", ";"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
    file = st.tuples(st.sampled_from(["10-13-10-25", "10-13-10-28", "11-02-09-01"]), FRACTIONS, style)
    pairs = st.tuples(st.sampled_from(["p001", "p002", "p045"]), st.sampled_from(["001", "059", "180", "215"]))
    return draw(st.dictionaries(pairs, st.lists(file, min_size=1, max_size=2, unique_by=(
        lambda one: one[0], lambda one: len(one[1]))), min_size=1, max_size=6))


@given(data_sets(), st.sampled_from(["", "Gaze_txt_files", "VR Eye-Tracking Dataset/Gaze_txt_files/Gaze_txt_files"]))
@settings(max_examples=25)
def test_a_data_set_as_people_have_it(tmp_path_factory, data_set, place):
    root = tmp_path_factory.mktemp("set")
    for (user, video), files in data_set.items():
        for date, samples, (delimiter, ending, mark) in files:
            number = str if delimiter == "," else lambda value: str(value).replace(".", ",")
            rows = [["frame", n, "forward", "0", "1", "eye", number(x), number(y)] for n, x, y in samples]
            text = "".join(delimiter.join(map(str, row)) + ending for row in [*rows, rows[0][:7]])
            path = write(root / place / user / f"{video}._2017-{date}_ori_0.txt", "\ufeff" * mark + text)
            write(path.with_name(f"._{path.name}"), b"\0\5\x16\7Mac OS X\xff")
    write(root / ".DS_Store", b"\0\0\0\1Bud1")
    formats, problems, others = find_recordings(root, "", [])
    found = collected(formats)
    assert not problems and not others and not found.problems
    assert {len(lines) for lines in found.bad_rows.values()} == {1}  # the row that was cut
    expected = {}
    for (user, video), files in data_set.items():
        expected.setdefault(video, []).extend(
            (n - 1, 360 * x - 180, 180 * y - 90, user) for n, x, y in max(files, key=lambda one: len(one[1]))[1])
    assert found.videos.keys() == expected.keys()
    for video, rows in expected.items():
        assert sorted(zip(*(column.tolist() for column in found.videos[video].samples))) == sorted(rows)


def test_hidden_files_pickles_and_what_is_no_recording(tmp_path):
    gaze = "frame,1,forward,0.5,0.5,eye,0.5,0.5\n"
    users = tmp_path / "VR Eye-Tracking Dataset/Gaze_txt_files/Gaze_txt_files"
    path = write(users / "p1/059._2017_ori_0.txt", gaze)
    write(users / "p1/._059._2017_ori_0.txt", b"\0\5\x16\7Mac OS X")
    write(tmp_path / "__MACOSX/p1/059.txt", gaze)
    write(tmp_path / "fixations/059.csv", "video,frame,longitude,latitude\n059,1,2,3\n")
    write(tmp_path / "README.txt", "Frame index starts from 1.\n")
    write(tmp_path / "vinfo.pkl", b"cos\nsystem\n(S'touch " + bytes(tmp_path / "unpickled") + b"'\ntR.")
    formats, problems, others = find_recordings(tmp_path, "", [tmp_path / "fixations"])
    assert formats == {path: "vr_eyetracking"}
    assert len(problems) == 1
    assert "vinfo.pkl is a pickle" in problems[0]
    assert [other.name for other in others] == ["README.txt"]
    assert not (tmp_path / "unpickled").exists()
    assert set(find_recordings(tmp_path, "table", [])[0].values()) == {"table"}
    assert ".pkl" in PICKLES
    with pytest.raises(InputError, match=r"p1 holds no recordings"):
        find_recordings(write(tmp_path / "p1/notes.txt", "hello").parent, "", [])


@pytest.mark.parametrize(("name", "text", "why"), [
    ("video_0.csv", "Timestamp,PlaybackTime,UnitQuaternion.x,UnitQuaternion.y\n1,2,3,4\n", "Wu et al. 2017"),
    ("uid-1/test0/v.txt", "0.013 0 0.996 0.02 -0.08 0.0\n0.02 1 0.8 0 -0.6 0\n", "Corbillon et al. 2017"),
    ("av.json", '[{"pitch": 1.5, "roll": 0, "sec": 0.1, "yaw": 3}]', "AVTrack360"),
    ("P1.json", '{"StartFrame": 1, "EndFrame": 3, "Pitch": 1, "Yaw": 2}', "CEAP-360VR"),
    ("u1.csv", "u,v,university,category\n0.5,0.5,UCL,1\n", "there is no column frame (or time)"),
    ("Video1.csv", "time;x\n1;2\n", "there is no column longitude and latitude (or u and v)")])
def test_what_is_known_but_says_too_little_gets_a_line_and_is_not_guessed(tmp_path, name, text, why):
    """Nor taken for another format: Corbillon's columns could be PVS-HM's."""
    first = write(tmp_path / name, text)
    write(first.with_name(f"twin_{first.name}"), text)
    good = write(tmp_path / "zz/beach.csv", "frame,lon,lat\n3,1,2\n")
    write(tmp_path / "package.json", "{}")
    formats, problems, others = find_recordings(tmp_path, "", [])
    assert (formats, others) == ({good: "table"}, [])
    assert len(problems) == 1 and why in problems[0] and "and 1 more files like it cannot be read" in problems[0]


@given(st.text(max_size=120))
@settings(max_examples=80)
def test_any_text_is_read_or_is_an_input_error(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "any"
    for name, module in FORMATS.items():
        path = write(folder / f"012{'.arff' if name == '360_em' else '.txt'}", text)
        recognise(path)
        try:
            recordings, skipped = module.read(path, OPTIONS)
        except InputError as problem:
            assert "\n" not in str(problem).strip()
            continue
        assert all(1 <= line <= text.count("\n") + text.count("\r") + 1 for line in skipped)
        assert all(len(recording.time) == len(recording.samples.frame) for recording in recordings)


# ---------------------------------------------------------------------------------------------------- brought together


def collected(formats, mirror=False, **options):
    return collect(formats, Options(**options), mirror, lambda: None)


def test_of_each_user_the_file_with_most_rows_counts(tmp_path):
    line = "frame,{},forward,0.5,0.5,eye,{},0.5\n"
    short = write(tmp_path / "p1/059._10-25.txt", line.format(1, 0.1) * 5)
    long = write(tmp_path / "p1/059._10-28.txt", line.format(1, 0.75) * 7 + line.format(2, "nan"))
    other = write(tmp_path / "p2/059._10-28.txt", line.format(1, 0.25))
    found = collected(dict.fromkeys((short, long, other), "vr_eyetracking"))
    gaze = found.videos["059"]
    assert gaze.samples.longitude.tolist() == [90] * 7 + [-90]
    assert gaze.files == [long, other]
    assert found.repeated == {short: 5}
    assert {path: lines.tolist() for path, lines in found.bad_rows.items()} == {long: [8]}
    assert collected({long: "vr_eyetracking"}, mirror=True).videos["059"].samples.longitude.tolist() == [-90] * 7


def test_head_and_gaze_are_never_mixed_and_both_eyes_count(tmp_path):
    text = "# Idx, longitude, latitude, start timestamp, duration, start frame, end frame\n0,{},0.5,0,0,1,1\n"
    paths = [write(tmp_path / f"Videos/{place}/1_a_fixations.csv", text.format(x))
             for place, x in (("H/Scanpaths", 0.5), ("HE/Scanpaths/L", 0.25), ("HE/Scanpaths/R", 0.75))]
    formats = dict.fromkeys(paths, "salient360")
    found = collected(formats)
    assert found.videos["1_a"].kind == "gaze"
    assert found.videos["1_a"].samples.longitude.tolist() == [-90, 90]
    assert found.other_kind == {"1_a": 1}
    found = collected(formats, kind="head")
    assert (found.videos["1_a"].kind, found.videos["1_a"].samples.longitude.tolist()) == ("head", [0])


def test_files_that_cannot_be_read_are_named_and_do_not_stop_the_others(tmp_path):
    good = write(tmp_path / "p1/059.txt", "frame,1,forward,0.5,0.5,eye,0.5,0.5\n")
    bad = write(tmp_path / "p2/059.txt", b"\xff\xfe0\0001\0,")
    empty = write(tmp_path / "p3/060.txt", "")
    found = collected(dict.fromkeys((bad, empty, good), "vr_eyetracking"))
    assert len(found.videos["059"].time) == 1
    assert len(found.videos["060"].time) == 0
    assert found.problems == [f"{bad}, line 1: this is not a text file in UTF-8"]


def test_every_format_has_the_same_two_functions():
    modules = (vr_eyetracking, d_sav360, salient360, em_360, pvs_hm, opensal360, nasrabadi2019, tables)
    assert tuple(FORMATS.values()) == modules
    for module in modules:
        assert callable(module.recognises) and callable(module.read) and len(module.__doc__) > 60
    assert isinstance(OPTIONS, tuple) and SimpleNamespace


# ------------------------------------------------------------------------------- the samples of the reference material


@pytest.mark.parametrize(("folder", "expected", "options"), [
    ("d-sav360/gaze_data", "d-sav360_all_samples", {}),
    ("d-sav360/gaze_data", "d-sav360_authors_fixations_8fps", {"fixations": "recorded"}),
    ("d-sav360/fixations_8fps", "d-sav360_authors_fixations_8fps", {}),
    ("salient360/Videos/H", "salient360_video_H", {}),
    ("salient360/Videos/HE/Scanpaths/L", "salient360_video_HE_L", {}),
    ("salient360/Romero_sampled", "salient360_romero", {}),
    ("vr_eyetracking", "vr_eyetracking", {}),
    ("360_em/gaze", "360_em_30fps", {}),
    ("pvs-hm/data", "pvs-hm_txt", {}),
    ("opensal360", "opensal360_views", {}),
    ("nasrabadi2019", "nasrabadi2019_30fps", {}),
    ("360av-hm", "360av-hm_30fps", {})])
def test_samples_import_to_the_values_worked_out_by_hand(shared, folder, expected, options):
    samples = shared / "gaze/samples"
    formats, _, _ = find_recordings(samples / folder, "", [])
    found = []
    for video, gaze in collected(formats, **options).videos.items():
        by_time = np.isnan(gaze.samples.frame).any()
        frame = frames_at(gaze.time, 30) if by_time else gaze.samples.frame
        found += zip([video] * len(frame), frame.tolist(), *(column.tolist() for column in gaze.samples[1:]))
    recordings, _ = tables.read(samples / f"expected/{expected}.csv", OPTIONS)
    wanted = [row for recording in recordings for row in
              zip([recording.video] * len(recording.time), *(column.tolist() for column in recording.samples))]

    def in_order(rows):
        return sorted((video, user, frame, round(longitude, 2) + 0, round(latitude, 2) + 0)
                      for video, frame, longitude, latitude, user in rows)

    assert in_order(found) == in_order(wanted)
