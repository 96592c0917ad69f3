"""Annotations in VOC's XML."""

BOX = "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"


SIZE = "<size><width>64</width><height>48</height></size>"


def thing(x1=3, y1=3, x2=20, y2=20, name="red", more=""):
    """The annotation of a 64×48 image with one object."""
    corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    inner = f"<name>{name}</name>{more}<bndbox>{corners}</bndbox>"
    return f"<annotation>{SIZE}<object>{inner}</object></annotation>"
