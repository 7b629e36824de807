"""Prints every text of an SVG file, a line each; fails when it is not XML, or loads anything."""

import sys
import xml.etree.ElementTree as ElementTree

root = ElementTree.parse(sys.argv[1]).getroot()
assert root.tag == "{http://www.w3.org/2000/svg}svg", root.tag
for element in root.iter():
    for name, value in element.attrib.items():
        if name.endswith("href"):
            assert value.startswith("#") or not value, f"{element.tag} refers to {value}"
    if element.tag.rpartition("}")[2] in ("title", "text", "tspan"):
        print("".join(element.itertext()).strip())
