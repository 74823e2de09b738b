"""Whole small files as other programs write them, each with the bars that it holds, to the digit."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

# Two hourly bars from 2024-03-04 10:00 that each file below holds, unless it says otherwise.
START = datetime(2024, 3, 4, 10, tzinfo=UTC)
PRICES = [(1.085, 1.0875, 1.0825, 1.086), (1.086, 1.09, 1.0855, 1.0895)]


@dataclass(frozen=True)
class ForeignFile:
    """A file: its name as a test, its text or bytes, and what must come of it."""

    name: str
    content: str | bytes
    prices: list[tuple[float, ...]] = field(default_factory=lambda: PRICES)
    times: list[datetime] = field(default_factory=lambda: [START, START + timedelta(hours=1)])
    symbols: list[str] | None = None
    volume: list[float] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    says: tuple[str, ...] = ()

    @property
    def as_bytes(self) -> bytes:
        """Return the file's bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.encode()


DAYS = [datetime(2024, 3, 4, tzinfo=UTC), datetime(2024, 3, 5, tzinfo=UTC)]
PLAIN = (
    "timestamp,open,high,low,close\n"
    "2024-03-04 10:00:00,1.085,1.0875,1.0825,1.086\n2024-03-04 11:00:00,1.086,1.09,1.0855,1.0895\n"
)
LARGE = [(1234.5, 1240.0, 1230.25, 1239.0), (1239.0, 1250.5, 1238.0, 1249.75)]

FILES = [
    ForeignFile("plain", PLAIN),
    # Date and time in two columns.
    ForeignFile(
        "mt4 with a header",
        "Date,Time,Open,High,Low,Close,Volume\n"
        "2024.03.04,10:00,1.0850,1.0875,1.0825,1.0860,812\n2024.03.04,11:00,1.0860,1.0900,1.0855,1.0895,640\n",
        volume=[812, 640],
        says=("Times are 'Date' and 'Time' joined.",),
    ),
    ForeignFile(
        "mt5",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        "2024.03.04\t10:00:00\t1.08500\t1.08750\t1.08250\t1.08600\t812\t0\t2\n"
        "2024.03.04\t11:00:00\t1.08600\t1.09000\t1.08550\t1.08950\t640\t0\t2\n",
        volume=[0, 0],
        says=("separated by '\\t'", "'<DATE>' and '<TIME>' joined"),
    ),
    ForeignFile(
        "mt5 as it is, in utf-16",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\r\n"
        "2024.03.04\t10:00:00\t1.08500\t1.08750\t1.08250\t1.08600\r\n"
        "2024.03.04\t11:00:00\t1.08600\t1.09000\t1.08550\t1.08950\r\n".encode("utf-16"),
        says=("UTF-16",),
    ),
    ForeignFile("utf-16 without its mark", PLAIN.encode("utf-16-le"), says=("UTF-16 without its mark",)),
    ForeignFile("utf-16 the other way round", b"\xfe\xff" + PLAIN.encode("utf-16-be")),
    ForeignFile(
        "stooq",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        "EURUSD,60,20240304,100000,1.085,1.0875,1.0825,1.086,0,0\n"
        "EURUSD,60,20240304,110000,1.086,1.09,1.0855,1.0895,0,0\n",
        symbols=["EURUSD", "EURUSD"],
        volume=[0, 0],
    ),
    ForeignFile(
        "stooq daily: a time of 000000",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        "AAPL.US,D,20240304,000000,1.085,1.0875,1.0825,1.086,81510100,0\n"
        "AAPL.US,D,20240305,000000,1.086,1.09,1.0855,1.0895,95132400,0\n",
        times=DAYS,
        symbols=["AAPL.US", "AAPL.US"],
        volume=[81510100, 95132400],
    ),
    ForeignFile(
        "times that lost their leading zeros",
        "Date,Time,Open,High,Low,Close\n20240304,93000,1.085,1.0875,1.0825,1.086\n"
        "20240304,103000,1.086,1.09,1.0855,1.0895\n",
        times=[datetime(2024, 3, 4, 9, 30, tzinfo=UTC), datetime(2024, 3, 4, 10, 30, tzinfo=UTC)],
    ),
    ForeignFile(
        "hours and minutes that lost theirs",
        "Date,Time,Open,High,Low,Close\n20240304,930,1.085,1.0875,1.0825,1.086\n"
        "20240304,1030,1.086,1.09,1.0855,1.0895\n",
        times=[datetime(2024, 3, 4, 9, 30, tzinfo=UTC), datetime(2024, 3, 4, 10, 30, tzinfo=UTC)],
    ),
    ForeignFile(
        "backtrader",
        "Date,Time,Open,High,Low,Close,Volume,OpenInterest\n"
        "2024-03-04,10:00:00,1.085,1.0875,1.0825,1.086,5,0\n2024-03-04,11:00:00,1.086,1.09,1.0855,1.0895,6,0\n",
        volume=[5, 6],
    ),
    ForeignFile(
        "two columns of any name",
        "Tag,Uhr,Open,High,Low,Close\n2024-03-04,10:00,1.085,1.0875,1.0825,1.086\n"
        "2024-03-04,11:00,1.086,1.09,1.0855,1.0895\n",
        options={"columns": ("date=Tag", "time=Uhr")},
    ),
    ForeignFile(
        "a day and a whole time",
        "date,datetime,open,high,low,close\n2024-03-04,2024-03-04 10:00:00,1.085,1.0875,1.0825,1.086\n"
        "2024-03-04,2024-03-04 11:00:00,1.086,1.09,1.0855,1.0895\n",
        says=("Times are those of 'datetime' and not of 'date'",),
    ),
    ForeignFile(
        "a chart with two indicators of one name",
        "time,open,high,low,close,Plot,Plot\n2024-03-04T10:00:00Z,1.085,1.0875,1.0825,1.086,1,\n"
        "2024-03-04T11:00:00Z,1.086,1.09,1.0855,1.0895,2,NaN\n",
    ),
    # No header.
    ForeignFile(
        "binance in milliseconds",
        "1709546400000,1.08500000,1.08750000,1.08250000,1.08600000,12.5,1709549999999,13.5,42,6.1,6.6,0\n"
        "1709550000000,1.08600000,1.09000000,1.08550000,1.08950000,11.5,1709553599999,12.5,40,6.0,6.5,0\n",
        volume=[12.5, 11.5],
        options={"timestamp_unit": "ms"},
        says=("no header", "taken as timestamp, open, high, low, close, volume"),
    ),
    ForeignFile(
        "mt4 without a header",
        "2024.03.04,10:00,1.0850,1.0875,1.0825,1.0860,812\n2024.03.04,11:00,1.0860,1.0900,1.0855,1.0895,640\n",
        volume=[812, 640],
        says=("line 1 is taken as the first bar", "taken as date, time, open, high, low, close, volume"),
    ),
    ForeignFile(
        "histdata",
        "20240304 100000;1.085000;1.087500;1.082500;1.086000;0\n"
        "20240304 110000;1.086000;1.090000;1.085500;1.089500;0\n",
        volume=[0, 0],
        says=("separated by ';'", "no header"),
    ),
    ForeignFile(
        "no header, as is said",
        "2024.03.04 10:00,1.0850,1.0875,1.0825,1.0860\n2024.03.04 11:00,1.0860,1.0900,1.0855,1.0895\n",
        options={"no_header": True},
    ),
    ForeignFile(
        "no header and another order",
        "1.0860,1.0850,1.0875,1.0825,2024-03-04 10:00\n1.0895,1.0860,1.0900,1.0855,2024-03-04 11:00\n",
        options={
            "columns": ("timestamp=column_5", "open=column_2", "high=column_3", "low=column_4", "close=column_1"),
        },
    ),
    # Lines before, between and below.
    ForeignFile(
        "a note before the header",
        f"EURUSD 1h exported 2024-03-05\n\n{PLAIN}",
        says=("Left out line 1 before the header: 'EURUSD 1h exported 2024-03-05'",),
    ),
    ForeignFile("lines skipped as is said", f"a,b,c,d,e\n1,2,3,4,5\n{PLAIN}", options={"skip_rows": 2}),
    ForeignFile(
        "yfinance",
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n"
        "2024-03-04,1.086,1.0875,1.0825,1.085,81510100\n2024-03-05,1.0895,1.09,1.0855,1.086,95132400\n",
        times=DAYS,
        volume=[81510100, 95132400],
        says=("Line 2 belongs to the header", "Line 3 belongs to the header"),
    ),
    ForeignFile(
        "comments, blank lines, a repeated header and a sum",
        "# from my broker\ntimestamp,open,high,low,close\n2024-03-04 10:00:00,1.085,1.0875,1.0825,1.086\n\n"
        "timestamp,open,high,low,close\n# more\n2024-03-04 11:00:00,1.086,1.09,1.0855,1.0895\n,,,,\nTotal: 2 bars\n",
        says=("1 more copies of the header, first at line 5", "Left out 1 lines below the last bar, from line 9"),
    ),
    ForeignFile("a header behind a number sign", "#" + PLAIN),
    ForeignFile(
        "a trailing separator in every line",
        PLAIN.replace("\n", ",\n"),
    ),
    ForeignFile("a trailing separator in the bars alone", PLAIN.replace("\n", ",\n").replace("close,", "close")),
    ForeignFile(
        "a mark, quotes and the ends of lines of Windows",
        "\ufeff" + PLAIN.replace("timestamp", '"timestamp"').replace("open", '"open"').replace("\n", "\r\n"),
    ),
    ForeignFile("ends of lines of an old Mac", PLAIN.replace("\n", "\r")),
    ForeignFile(
        "everything quoted", "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in PLAIN.splitlines())
    ),
    ForeignFile("spaces around", PLAIN.replace(",", " , ")),
    ForeignFile("an index without a name", PLAIN.replace("timestamp", "")),
    ForeignFile(
        "a count of rows before the times",
        ",date,open,high,low,close\n0,2024-03-04 10:00:00,1.085,1.0875,1.0825,1.086\n"
        "1,2024-03-04 11:00:00,1.086,1.09,1.0855,1.0895\n",
    ),
    ForeignFile("latin text", ("# Schlu\u00dfkurse \u20ac\n" + PLAIN).encode("cp1252"), says=("Windows-1252",)),
    # Separators and decimal marks.
    *[
        ForeignFile(f"separator {name}", PLAIN.replace(",", separator))
        for name, separator in (("semicolon", ";"), ("tab", "\t"), ("bar", "|"))
    ],
    ForeignFile("separator as typed", PLAIN.replace(",", "\t"), options={"separator": "\\t"}),
    ForeignFile(
        "german",
        "Datum;Open;High;Low;Close\n2024-03-04 10:00:00;1.234,5;1.240,0;1.230,25;1.239,0\n"
        "2024-03-04 11:00:00;1.239,0;1.250,5;1.238,0;1.249,75\n",
        prices=LARGE,
        options={"columns": ("timestamp=Datum",)},
        says=("separated by ';'", "decimal comma, as in '1.230,25'"),
    ),
    ForeignFile(
        "thousands in quotes",
        "timestamp,open,high,low,close,volume\n"
        '2024-03-04 10:00:00,"1,234.50","1,240.00","1,230.25","1,239.00","12,000"\n'
        '2024-03-04 11:00:00,"1,239.00","1,250.50","1,238.00","1,249.75","9,000"\n',
        prices=LARGE,
        volume=[12000, 9000],
    ),
    ForeignFile(
        "three digits behind each comma, as is said",
        "timestamp;open;high;low;close\n2024-03-04 10:00:00;1,085;1,087;1,082;1,086\n",
        prices=[(1.085, 1.087, 1.082, 1.086)],
        times=[START],
        options={"decimal": ","},
    ),
    ForeignFile(
        "spaces and apostrophes between thousands",
        "timestamp;open;high;low;close\n2024-03-04 10:00:00;1 234.50;1\u00a0240.00;1\u202f230.25;1'239.00\n"
        "2024-03-04 11:00:00;1239.00;1250.50;1238.00;1249.75\n",
        prices=LARGE,
    ),
    ForeignFile(
        "nasdaq: dollars, newest first",
        'Date,Close/Last,Volume,Open,High,Low\n2024-03-05,"$1,249.75","95,132","$1,239.00","$1,250.50","$1,238.00"\n'
        '2024-03-04,"$1,239.00","81,510","$1,234.50","$1,240.00","$1,230.25"\n',
        prices=LARGE,
        times=DAYS,
        volume=[81510, 95132],
    ),
    # JSON.
    ForeignFile(
        "freqtrade",
        "[[1709546400000,1.085,1.0875,1.0825,1.086,12.5],[1709550000000,1.086,1.09,1.0855,1.0895,11.5]]",
        volume=[12.5, 11.5],
        options={"timestamp_unit": "ms"},
    ),
    ForeignFile(
        "json lines",
        '{"time":"2024-03-04 10:00:00","open":1.085,"high":1.0875,"low":1.0825,"close":1.086}\n'
        '{"time":"2024-03-04 11:00:00","open":1.086,"high":1.09,"low":1.0855,"close":1.0895}\n',
    ),
    ForeignFile(
        "oanda",
        '{"instrument":"EUR_USD","granularity":"H1","candles":['
        '{"complete":true,"volume":5,"time":"2024-03-04T10:00:00Z","mid":{"o":"1.085","h":"1.0875","l":"1.0825","c":"1.086"}},'
        '{"complete":true,"volume":6,"time":"2024-03-04T11:00:00Z","mid":{"o":"1.086","h":"1.09","l":"1.0855","c":"1.0895"}}]}',
        volume=[5, 6],
        says=("Bars are those of 'candles'",),
    ),
    ForeignFile(
        "kraken",
        '{"error":[],"result":{"EURUSD":[[1709546400,"1.085","1.0875","1.0825","1.086","1.08","5",9],'
        '[1709550000,"1.086","1.09","1.0855","1.0895","1.08","6",9]],"last":1709550000}}',
        says=("Bars are those of 'result.EURUSD'", "taken as timestamp, open, high, low, close (--columns"),
    ),
    ForeignFile(
        "a list a column",
        '{"s":"ok","t":[1709546400,1709550000],"o":[1.085,1.086],"h":[1.0875,1.09],"l":[1.0825,1.0855],'
        '"c":[1.086,1.0895],"v":[5,6]}',
        volume=[5, 6],
        options={"columns": ("timestamp=t",)},
    ),
    ForeignFile(
        "alpha vantage",
        '{"Meta Data":{"1. Information":"x","2. Symbol":"EURUSD"},"Time Series (60min)":{'
        '"2024-03-04 11:00:00":{"1. open":"1.086",'
        '"2. high":"1.09","3. low":"1.0855","4. close":"1.0895","5. volume":"6"},'
        '"2024-03-04 10:00:00":{"1. open":"1.085",'
        '"2. high":"1.0875","3. low":"1.0825","4. close":"1.086","5. volume":"5"}}}',
        volume=[5, 6],
    ),
]
